//! The loop of the demo: script, keys, looks at Tapline, pictures.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::script::{Act, Script};
use super::stage::Stage;
use super::told::Told;
use super::view::{Memory, View};
use crate::telemetry::clock;

/// Between two pictures.
const PICTURE: Duration = Duration::from_millis(100);
/// Between two looks at `/health`.
const LOOK: Duration = Duration::from_millis(250);

/// Where the demo is shown.
pub(super) trait Face {
    /// Shows one thing that happened, at once.
    fn tell(&mut self, told: &Told);

    /// Shows a picture.
    fn show(&mut self, view: &View) -> std::io::Result<()>;
}

/// What a person wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wish {
    Act(Act),
    Quit,
}

/// Plays until `until`, a wish to quit or a signal.
///
/// # Errors
/// If a part of the demo cannot be started or brought back, or Tapline ends by itself.
pub(super) async fn play(
    stage: &Arc<Stage>,
    face: &mut dyn Face,
    mut told: mpsc::Receiver<Told>,
    mut wishes: mpsc::Receiver<Wish>,
    until: Option<Duration>,
) -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut pictures = tokio::time::interval(PICTURE);
    pictures.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut script = Script::default();
    let mut memory = Memory::default();
    let mut acts: JoinSet<anyhow::Result<()>> = JoinSet::new();
    let opening = stage.clone();
    acts.spawn(async move { opening.open().await });
    let looking = stage.clone();
    let mut looks = JoinSet::new();
    looks.spawn(async move {
        loop {
            looking.look().await;
            tokio::time::sleep(LOOK).await;
        }
    });
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            Some(line) = told.recv() => {
                face.tell(&line);
                memory.take(line);
            }
            Some(wish) = wishes.recv() => match wish {
                Wish::Quit => return Ok(()),
                // What is under way is done first; keys pressed meanwhile are not kept.
                Wish::Act(act) if acts.is_empty() => perform(&mut acts, stage, act),
                Wish::Act(_) => {}
            },
            Some(done) = acts.join_next() => done.context("a part of the demo panicked")??,
            _ = pictures.tick() => {
                if let Some(until) = until.filter(|until| stage.clock.shown() >= *until) {
                    let log = stage.log();
                    let is_ready = stage.clock.script().is_some();
                    anyhow::ensure!(is_ready, "Tapline was not ready within {until:?}: see `{}`", log.display());
                    return Ok(());
                }
                if let Some(at) = stage.clock.script() {
                    if let Some(act) = script.due(at) {
                        perform(&mut acts, stage, act);
                    }
                    // While it is being killed and started again it may well be gone.
                    if acts.is_empty() && let Some(status) = stage.has_ended().await {
                        let log = stage.log();
                        anyhow::bail!("Tapline ended by itself ({status}): see `{}`", log.display());
                    }
                }
                face.show(&memory.view(stage, clock::now())).context("the screen is gone")?;
            }
        }
    }
}

/// Acts are not waited for: the screen goes on.
fn perform(acts: &mut JoinSet<anyhow::Result<()>>, stage: &Arc<Stage>, act: Act) {
    let stage = stage.clone();
    acts.spawn(async move { stage.act(act).await });
}
