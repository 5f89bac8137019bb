//! Finds changed files while Tapline runs, and has them taken up.
//!
//! Events of the system are hints: many mounts give none, so contents are compared every few
//! seconds all the same. Invariant: whatever stands in the files once they are at rest is
//! taken up, however and in whichever order it came there.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::Tapline;
use super::scan::{Scan, Seen};
use crate::telemetry;

/// Between a hint and the first look; whoever saves several files needs as long.
const DEBOUNCE: Duration = Duration::from_millis(50);
/// Pause after a hint that led to nothing: a log or a database may lie beside the files.
const FRUITLESS: Duration = Duration::from_millis(500);
/// Between two looks that must agree.
const SETTLE: Duration = Duration::from_millis(30);
/// Looks that may disagree. Files that change all the time are taken as they stand.
const LOOKS: usize = 10;

/// The state of the files from which a start begins; a change since then is taken up.
pub(super) struct Watch {
    scan: Scan,
    seen: Seen,
}

impl Watch {
    /// Looks for the first time, before anything is read to be run.
    pub(super) fn begin(options: &super::Options) -> Self {
        let mut scan = Scan::new(options);
        let seen = scan.look();
        Self { scan, seen }
    }

    /// Watches until `tapline` is gone.
    pub(super) async fn run(mut self, tapline: Weak<Tapline>) {
        let mut hints = Hints::default();
        loop {
            let Some(how) = tapline.upgrade().map(|tapline| tapline.config().site.watch) else {
                return;
            };
            hints.follow(how.events.then(|| self.scan.folders()));
            let hinted = timeout(how.rescan, hints.hinted.notified()).await.is_ok();
            if hinted {
                sleep(DEBOUNCE).await;
            }
            let Some(looked) = self.look().await else { return };
            self = looked.0;
            let mut now = looked.1;
            if now == self.seen {
                if hinted {
                    sleep(FRUITLESS).await;
                }
                continue;
            }
            for _ in 0..LOOKS {
                sleep(SETTLE).await;
                let Some((watch, again)) = self.look().await else { return };
                self = watch;
                if again == now {
                    break;
                }
                now = again;
            }
            // Links may lead elsewhere now.
            hints.watcher = None;
            let Some(tapline) = tapline.upgrade() else { return };
            match tapline.files_changed().await {
                Ok(_) => self.seen = now,
                // It is tried again at the next look.
                Err(error) => tracing::error!(
                    event = "files_not_taken_up",
                    error = &error as &dyn std::error::Error,
                    "what ran before runs on"
                ),
            }
        }
    }

    async fn look(mut self) -> Option<(Self, Seen)> {
        let looked = tokio::task::spawn_blocking(move || {
            let seen = self.scan.look();
            (self, seen)
        });
        looked.await.ok()
    }
}

/// What the system tells of changes.
#[derive(Default)]
struct Hints {
    hinted: Arc<Notify>,
    watcher: Option<(BTreeSet<PathBuf>, RecommendedWatcher)>,
}

impl Hints {
    /// Listens for events in these folders; `None`: for none at all.
    fn follow(&mut self, folders: Option<BTreeSet<PathBuf>>) {
        let Some(folders) = folders else {
            self.watcher = None;
            return;
        };
        let there: BTreeSet<_> = folders.into_iter().filter(|folder| folder.is_dir()).collect();
        if self.watcher.as_ref().is_some_and(|(followed, _)| *followed == there) {
            return;
        }
        let hinted = self.hinted.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| is_change(event.kind)) {
                hinted.notify_one();
            }
        });
        let mut watcher = match watcher {
            Ok(watcher) => watcher,
            Err(error) => {
                tracing::debug!(
                    event = "no_file_events",
                    error = telemetry::words(&error),
                    "looking every few seconds"
                );
                return;
            }
        };
        for folder in &there {
            if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
                tracing::debug!(event = "no_file_events", folder = %folder.display(), error = telemetry::words(&error), "looking every few seconds");
            }
        }
        self.watcher = Some((there, watcher));
    }
}

/// To read a file is an event, too; that must not lead to another look.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        _ => true,
    }
}
