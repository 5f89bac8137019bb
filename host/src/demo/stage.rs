//! Everything that the demo consists of, and what can be done to it.
//!
//! Broker, Odoo and machines live in this process, Tapline in one of its own: so it can be
//! killed while they go on. Neighbours: `show` decides when something is done and draws what
//! became of it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use tempfile::TempDir;

use super::clock::Clock;
use super::floor::Floor;
use super::machines::{self, MACHINES, POISONER, RAISED, RAISED_W, WORKING_W};
use super::program::{Options, Program};
use super::script::{Act, Turn};
use super::site::{self, Places};
use super::tally::{Account, Messages, Seen, arrivals};
use super::told::{Teller, Tone};
use crate::broker::EmbeddedBroker;
use crate::module::shipped;
use crate::stand_in::{StandIn, StandInOptions};
use crate::store::{SinkId, Store, StoreOptions};

/// How long all subscriptions may take until they are granted.
const GRANTED: Duration = Duration::from_secs(20);
/// How long what is under way may take at the end.
const SETTLE: Duration = Duration::from_secs(8);
const LOOK: Duration = Duration::from_millis(100);

/// The demo.
pub(super) struct Stage {
    pub(super) clock: Arc<Clock>,
    pub(super) odoo: StandIn,
    pub(super) broker: EmbeddedBroker,
    pub(super) floor: Floor,
    teller: Teller,
    program: Program,
    data: PathBuf,
    state: Mutex<State>,
    /// One act at a time.
    acting: tokio::sync::Mutex<()>,
    /// Goes with the demo, unless somebody has to look into it.
    folder: Mutex<Option<TempDir>>,
}

#[derive(Default)]
struct State {
    /// The last answer of `/health`; `None` while it does not answer.
    seen: Option<Seen>,
    /// Messages of the processes that were killed, as last read of them.
    before: Messages,
    /// Of the one that runs, as last read.
    now: Messages,
    waiting: u64,
    dead_letters: u64,
    is_raised: bool,
    restarts: u32,
    /// Events in Odoo when it went away.
    at_leave: Option<u64>,
}

/// What there is to see of it, at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Standing {
    pub(super) messages: Messages,
    pub(super) waiting: u64,
    pub(super) dead_letters: u64,
    pub(super) is_running: bool,
    pub(super) is_connected: bool,
    pub(super) trouble: Option<String>,
    pub(super) restarts: u32,
}

impl Stage {
    /// Brings up broker, Odoo and machines; Tapline comes with [`Stage::open`].
    pub(super) async fn set(clock: Arc<Clock>, teller: Teller) -> anyhow::Result<Self> {
        let exe = std::env::current_exe().context("the demo cannot find its own program")?;
        let folder = tempfile::Builder::new().prefix("tapline-demo-").tempdir();
        let folder = folder.context("no temporary directory can be made")?;
        let key = uuid::Uuid::new_v4().simple().to_string();
        let token = uuid::Uuid::new_v4().simple().to_string();
        let broker = EmbeddedBroker::start().await?;
        let options = StandInOptions {
            key: Some(key.clone()),
            database: Some(site::DATABASE.to_owned()),
            ..StandInOptions::default()
        };
        let odoo = StandIn::start(options).await.context("no loopback port is free for Odoo")?;
        let places = Places { broker: broker.port(), odoo: odoo.url(), api: free_port()? };
        let text = site::text(&places);
        let (site, data) = (folder.path().join("site"), folder.path().join("data"));
        write_site(&site, &text).context("the demo's site cannot be written")?;
        let floor = Floor::open(&site::broker(&text)?, &clock);
        let options = Options {
            exe,
            site,
            data: data.clone(),
            log: folder.path().join("tapline.log"),
            env: site::environment(&key, &token),
            api: places.api,
            token,
        };
        let program = Program::new(options, teller.clone())?;
        let (state, acting) = (Mutex::default(), tokio::sync::Mutex::default());
        let folder = Mutex::new(Some(folder));
        Ok(Self { clock, odoo, broker, floor, teller, program, data, state, acting, folder })
    }

    /// Starts Tapline, pushes the configuration and, once it listens, begins the script.
    pub(super) async fn open(&self) -> anyhow::Result<()> {
        let _acting = self.acting.lock().await;
        self.program.start().await?;
        self.program.push(&site::document(false)).await?;
        self.until_it_listens().await?;
        self.teller.tell("ready", Tone::Plain, "Tapline listens to the five machines");
        self.clock.is_ready_now();
        Ok(())
    }

    async fn until_it_listens(&self) -> anyhow::Result<()> {
        let listens = async {
            loop {
                match self.program.health().await {
                    Ok(seen) if seen.is_connected() && seen.subscriptions >= MACHINES.len() => {
                        return;
                    }
                    _ => tokio::time::sleep(LOOK).await,
                }
            }
        };
        if tokio::time::timeout(GRANTED, listens).await.is_err() {
            let seen = self.program.health().await.unwrap_or_default();
            anyhow::bail!(
                "Tapline does not listen after {GRANTED:?}: {}; its log: {}",
                seen.problems.join("; "),
                self.log().display()
            );
        }
        Ok(())
    }

    /// Does something to Tapline or its surroundings.
    pub(super) async fn act(&self, act: Act) -> anyhow::Result<()> {
        let _acting = self.acting.lock().await;
        match act {
            Act::Odoo(turn) => self.turn_odoo(turn).await?,
            Act::Broker(turn) => self.turn_broker(turn),
            Act::Kill => self.kill().await?,
            Act::Poison => match self.floor.poison(POISONER).await {
                Ok(sent) => {
                    let text = String::from_utf8_lossy(&sent.payload).into_owned();
                    self.teller.tell("poison_sent", Tone::Bad, format!("{}: {text}", sent.topic));
                }
                Err(error) => {
                    self.teller.tell("poison_not_sent", Tone::Bad, error.to_string());
                }
            },
            Act::Threshold(turn) => self.push_threshold(turn).await?,
        }
        Ok(())
    }

    async fn turn_odoo(&self, turn: Turn) -> anyhow::Result<()> {
        let is_there = self.odoo.is_there();
        match turn {
            Turn::There | Turn::Over if is_there => {
                self.odoo.go_away().await;
                self.lock().at_leave = Some(self.odoo.event_count() as u64);
                self.teller.tell("odoo_away", Tone::Bad, "its port is closed: results wait");
            }
            Turn::Back | Turn::Over if !is_there => {
                self.odoo.come_back().await.context("another program took Odoo's port")?;
                let waiting = self.lock().waiting;
                let words = format!("its port is open again, waiting {waiting}");
                self.teller.tell("odoo_back", Tone::Good, words);
            }
            _ => {}
        }
        Ok(())
    }

    fn turn_broker(&self, turn: Turn) {
        let is_up = self.broker.is_up();
        match turn {
            Turn::There | Turn::Over if is_up => {
                self.broker.cut();
                self.teller.tell("broker_away", Tone::Bad, "every connection is cut");
            }
            Turn::Back | Turn::Over if !is_up => {
                self.broker.restore();
                self.teller.tell("broker_back", Tone::Good, "connections are let through again");
            }
            _ => {}
        }
    }

    async fn kill(&self) -> anyhow::Result<()> {
        // The counters live in the process: read once more, they are as new as can be.
        self.look().await;
        self.program.kill().await?;
        {
            let mut state = self.lock();
            let now = std::mem::take(&mut state.now);
            state.before = state.before.and(now);
            state.seen = None;
            state.restarts += 1;
        }
        self.teller.tell("killed", Tone::Bad, "SIGKILL in mid-session; starting again");
        self.program.start().await?;
        self.teller.tell("restarted", Tone::Good, "with state, timers and outbox of before");
        Ok(())
    }

    async fn push_threshold(&self, turn: Turn) -> anyhow::Result<()> {
        let is_raised = match turn {
            Turn::There => true,
            Turn::Back => false,
            Turn::Over => !self.lock().is_raised,
        };
        let name = machines::by_id(RAISED).map_or(RAISED, |machine| machine.name);
        let watts = if is_raised { RAISED_W } else { WORKING_W };
        self.teller.tell("push", Tone::Plain, format!("{name} works from {watts} W on"));
        self.program.push(&site::document(is_raised)).await?;
        self.lock().is_raised = is_raised;
        Ok(())
    }

    /// Asks Tapline how it is.
    pub(super) async fn look(&self) {
        let asked = self.lock().restarts;
        let seen = self.program.health().await.ok();
        let mut state = self.lock();
        if state.restarts != asked {
            // An answer of the process that was killed meanwhile; its counters are in already.
            return;
        }
        if let Some(seen) = &seen {
            let waiting = seen.waiting();
            if waiting != state.waiting && !self.odoo.is_there() {
                self.teller.tell("odoo_away", Tone::Bad, format!("waiting {waiting}"));
            }
            state.now = seen.messages();
            state.waiting = waiting;
            state.dead_letters = seen.dead_letters;
        }
        state.seen = seen;
        if state.waiting == 0
            && self.odoo.is_there()
            && let Some(before) = state.at_leave.take()
        {
            let arrivals = arrivals(&self.odoo.events());
            let delivered = arrivals.delivered.saturating_sub(before);
            let words =
                format!("delivered {delivered}, lost {}, twice {}", arrivals.gaps, arrivals.twice);
            self.teller.tell("odoo_caught_up", Tone::Good, words);
        }
    }

    /// How Tapline ended, though nobody killed it.
    pub(super) async fn has_ended(&self) -> Option<String> {
        self.program.exited().await
    }

    /// What is known at this moment.
    pub(super) fn standing(&self) -> Standing {
        let state = self.lock();
        let seen = state.seen.as_ref();
        Standing {
            messages: state.before.and(state.now),
            waiting: state.waiting,
            dead_letters: state.dead_letters,
            is_running: seen.is_some(),
            is_connected: seen.is_some_and(Seen::is_connected),
            trouble: seen.and_then(Seen::sink_trouble).map(str::to_owned),
            restarts: state.restarts,
        }
    }

    /// Stops the machines, lets what is under way arrive, ends Tapline and asks its database.
    pub(super) async fn close(&self) -> anyhow::Result<Account> {
        let _acting = self.acting.lock().await;
        self.floor.close();
        self.broker.restore();
        let settled = async {
            loop {
                self.look().await;
                let before = self.standing();
                tokio::time::sleep(LOOK * 5).await;
                self.look().await;
                let now = self.standing();
                let all = now.messages.received >= self.floor.sent();
                let sent = now.waiting == 0 || !self.odoo.is_there();
                if all && sent && now.messages == before.messages {
                    return;
                }
            }
        };
        // What has not arrived by then is counted as what it is: missing or waiting.
        let _ = tokio::time::timeout(SETTLE, settled).await;
        self.program.kill().await?;
        let data = self.data.clone();
        let (queued, waiting, set_aside) =
            tokio::task::spawn_blocking(move || outbox(&data)).await??;
        Ok(Account {
            sent: self.floor.sent(),
            messages: self.standing().messages,
            arrivals: arrivals(&self.odoo.events()),
            queued,
            waiting,
            set_aside,
            recognised: self.odoo.duplicates(),
            violations: self.odoo.violations().len() as u64,
        })
    }

    /// Tapline's log.
    pub(super) fn log(&self) -> PathBuf {
        self.program.log().to_owned()
    }

    /// Leaves the directory with database and log where it is, and says where.
    pub(super) fn keep(&self) -> PathBuf {
        let folder = self.folder.lock().unwrap_or_else(PoisonError::into_inner).take();
        folder.map_or_else(|| self.data.clone(), TempDir::keep)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A port for the API. Another program could take it before Tapline does, which its start then
/// reports.
fn free_port() -> anyhow::Result<std::net::SocketAddr> {
    std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .context("no loopback port is free for the API")
}

fn write_site(site: &Path, text: &str) -> std::io::Result<()> {
    let modules = site.join("modules");
    std::fs::create_dir_all(&modules)?;
    std::fs::write(site.join("tapline.toml"), text)?;
    // A program that was built without its modules finds them by the folder it runs in, and
    // Tapline is going to run in another.
    for (name, bytes) in shipped::modules() {
        std::fs::write(modules.join(format!("{name}.wasm")), bytes)?;
    }
    Ok(())
}

/// By the database of a Tapline that has ended: what was queued for Odoo, what of it waits, and
/// what was set aside.
fn outbox(data: &Path) -> anyhow::Result<(u64, u64, u64)> {
    let sink = SinkId::new("workshop", "odoo");
    let store = Store::open(data, StoreOptions::default())?;
    let set_aside = store.dead_letter_counts()?.into_iter().filter(|c| c.stage == *sink.stage);
    let sums =
        (store.outbox_queued(&sink)?, store.outbox_count(&sink), set_aside.map(|c| c.count).sum());
    store.close();
    Ok(sums)
}
