//! When an author has saved something.
//!
//! The system's hints make it quick; a look at the files every two seconds makes it sure, for
//! folders that give no hints. Invariant: what counts is what lies in the files: an event
//! without a change builds nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, SystemTime};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use super::is_made;

/// Editors write in several steps.
const QUIET: Duration = Duration::from_millis(60);
const MOST_QUIETS: usize = 20;
const LOOK: Duration = Duration::from_secs(2);
/// More files than any module has.
const MOST_FILES: usize = 5_000;

/// Each file with its size and the time of its last change.
type Seen = Vec<(PathBuf, u64, Option<SystemTime>)>;

/// The sources of a project.
pub(super) struct Sources {
    root: PathBuf,
    seen: Seen,
    hints: Receiver<()>,
    /// Hints end with it; `None` where the system has none to give.
    _watcher: Option<RecommendedWatcher>,
}

impl Sources {
    pub(super) fn watch(root: &Path) -> Self {
        let (hint, hints) = sync_channel(1);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !event.kind.is_access()) {
                // One that waits already says the same.
                let _full = hint.try_send(());
            }
        });
        let watcher = watcher.and_then(|mut watcher| {
            watcher.watch(root, RecursiveMode::NonRecursive)?;
            // Not what builds write: that has files without number.
            for folder in entries(root).into_iter().filter(|path| path.is_dir()) {
                watcher.watch(&folder, RecursiveMode::Recursive)?;
            }
            Ok(watcher)
        });
        if let Err(error) = &watcher {
            eprintln!("note: the system does not say when files change ({error}); looking instead");
        }
        let seen = look(root);
        Self { root: root.to_owned(), seen, hints, _watcher: watcher.ok() }
    }

    /// Waits a while for a save; true once there was one and the files are quiet.
    pub(super) fn saved(&mut self) -> bool {
        match self.hints.recv_timeout(LOOK) {
            Ok(()) => {
                let quiet =
                    |_: &usize| self.hints.recv_timeout(QUIET) != Err(RecvTimeoutError::Timeout);
                let _steps = (0..MOST_QUIETS).take_while(quiet).count();
            }
            Err(RecvTimeoutError::Timeout) => {}
            // Without hints nothing else waits.
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(LOOK),
        }
        let now = look(&self.root);
        let changed = now != self.seen;
        self.seen = now;
        changed
    }
}

fn look(root: &Path) -> Seen {
    let mut seen = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(folder) = open.pop() {
        for path in entries(&folder) {
            let Ok(about) = path.symlink_metadata() else { continue };
            if about.is_dir() {
                open.push(path);
            } else if seen.len() < MOST_FILES {
                seen.push((path, about.len(), about.modified().ok()));
            }
        }
    }
    seen
}

/// What lies in a folder but for what builds write.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<_> =
        entries.map(|entry| entry.path()).filter(|path| !is_made(path)).collect();
    paths.sort();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_a_source_is_seen_and_what_a_build_writes_is_not() {
        let project = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| {
            let path = project.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("src/lib.rs", "1");
        let mut sources = Sources::watch(project.path());
        write("target/release/x", "1");
        write("Cargo.lock", "1");
        assert!(!sources.saved());
        write("src/lib.rs", "12");
        write("src/deep/more.rs", "1");
        let mut saved = false;
        for _ in 0..10 {
            saved = saved || sources.saved();
        }
        assert!(saved);
    }
}
