//! Hears a broker without a session that lasts: for captures.
//!
//! Each listener has a client id of its own and a clean session, so it takes nothing from a
//! Tapline that runs, and nothing stays at the broker when it leaves. Where the connection is
//! lost it comes back by itself and says what was not heard. Invariant: what is not taken is
//! not read, so that memory stays bounded by the queue.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::backoff::Backoff;
use super::wire::{self, Arrival, Dial, Inbound, Poller, Requests, WireError};
use super::{Clock, Subscription};
use crate::config::site::Broker;
use crate::message::{Message, MessageId, Timestamp};
use crate::telemetry;

/// Messages that wait for whoever listens.
const WAITING: usize = 256;

/// Messages that may come before the answer to SUBSCRIBE.
const EARLY: usize = 10_000;

/// How long CONNECT and SUBSCRIBE may take together.
const ANSWER: Duration = Duration::from_secs(20);

/// What a listener hears.
#[derive(Debug)]
pub enum Heard {
    Message(Message),
    /// The connection is gone; it is tried again.
    Lost(String),
    /// It is there again; nothing was heard between the two times.
    Back {
        from: Timestamp,
        until: Timestamp,
    },
}

/// Why nothing can be heard.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("{address}: {words}")]
    Unreachable { address: String, words: String },
    #[error("{address} did not answer within {}", humantime::format_duration(ANSWER))]
    TimedOut { address: String },
    #[error("{address} refuses to subscribe `{filter}`: {reason}")]
    Refused { address: String, filter: String, reason: &'static str },
}

/// A connection that listens.
pub struct Listener {
    heard: mpsc::Receiver<Heard>,
    /// Ends it with this.
    _task: AbortOnDropHandle<()>,
}

impl Listener {
    /// Connects and subscribes. Needs a tokio runtime.
    ///
    /// # Errors
    /// If the broker cannot be reached or refuses a filter.
    pub async fn start(
        broker: Arc<Broker>,
        client_id: String,
        filters: Vec<String>,
        clock: Clock,
    ) -> Result<Self, ListenError> {
        let mut ear = Ear { broker, client_id, filters, clock, sequence: 0, early: Vec::new() };
        let connection = ear.connect().await?;
        let (send, heard) = mpsc::channel(WAITING);
        let task = AbortOnDropHandle::new(tokio::spawn(async move {
            ear.run(connection, &send).await;
        }));
        Ok(Self { heard, _task: task })
    }

    /// What comes next. May be given up at any time.
    pub async fn next(&mut self) -> Option<Heard> {
        self.heard.recv().await
    }
}

type Connection = (Requests, Poller);

struct Ear {
    broker: Arc<Broker>,
    client_id: String,
    filters: Vec<String>,
    clock: Clock,
    sequence: u64,
    /// What came before the broker answered the last subscription.
    early: Vec<Inbound>,
}

impl Ear {
    fn address(&self) -> String {
        format!("{}:{}", self.broker.host, self.broker.port)
    }

    async fn connect(&mut self) -> Result<Connection, ListenError> {
        let address = self.address();
        match timeout(ANSWER, self.attempt()).await {
            Err(_) => Err(ListenError::TimedOut { address }),
            Ok(Err(error)) => {
                Err(ListenError::Unreachable { address, words: telemetry::words(&error) })
            }
            Ok(Ok((_, Some((filter, reason))))) => {
                Err(ListenError::Refused { address, filter, reason })
            }
            Ok(Ok((connection, None))) => Ok(connection),
        }
    }

    /// Connects and subscribes; the first filter that was refused, and why.
    async fn attempt(&mut self) -> Result<(Connection, Option<(String, &'static str)>), WireError> {
        self.early.clear();
        let dial = Dial {
            client_id: self.client_id.clone(),
            clean: true,
            session_expiry: 0,
            manual_acks: false,
            packet_limit: self.broker.max_packet as usize + wire::HEADROOM,
            will: None,
            broker: self.broker.clone(),
        };
        let (requests, mut poller) = wire::open_off_thread(dial).await?;
        let Arrival::Connected { .. } = poller.poll().await? else {
            return Err(WireError::Other("the broker did not answer CONNECT".to_owned()));
        };
        if let Some(filter) = self.filters.iter().find(|filter| !wire::is_filter(filter)) {
            let refused = Some((filter.clone(), wire::NOT_A_FILTER.words));
            return Ok(((requests, poller), refused));
        }
        let wanted: Vec<_> =
            self.filters.iter().map(|filter| (filter.clone(), Subscription::default())).collect();
        let mut pending = requests.subscribe(&wanted)?;
        let codes = loop {
            let poll = poller.poll();
            tokio::pin!(poll);
            tokio::select! {
                codes = &mut pending => break codes?,
                arrival = &mut poll => match arrival? {
                    // Retained messages may overtake the answer.
                    Arrival::Message(inbound) if self.early.len() < EARLY => {
                        self.early.push(inbound);
                    }
                    Arrival::Message(_) => {
                        let what = "it sends messages, but no answer to SUBSCRIBE";
                        return Err(WireError::Other(what.to_owned()));
                    }
                    _ => {}
                },
            }
        };
        let answers = self.filters.iter().zip(codes);
        let mut refused = answers.filter_map(|(filter, code)| Some((filter, code.err()?.words)));
        let refused = refused.next().map(|(filter, words)| (filter.clone(), words));
        Ok(((requests, poller), refused))
    }

    /// Until nobody listens any more.
    async fn run(&mut self, mut connection: Connection, heard: &mpsc::Sender<Heard>) {
        let mut backoff = Backoff::new();
        loop {
            let lost = self.listen(&mut connection.1, heard).await;
            let from = (self.clock)();
            let Some(mut words) = lost else { return };
            connection = loop {
                if heard.send(Heard::Lost(words)).await.is_err() {
                    return;
                }
                tokio::time::sleep(backoff.pause()).await;
                match self.connect().await {
                    Ok(connection) => break connection,
                    Err(error) => words = telemetry::words(&error),
                }
            };
            backoff = Backoff::new();
            let until = (self.clock)();
            if heard.send(Heard::Back { from, until }).await.is_err() {
                return;
            }
        }
    }

    /// Until the connection is lost, and why; `None`: nobody listens any more.
    async fn listen(&mut self, poller: &mut Poller, heard: &mpsc::Sender<Heard>) -> Option<String> {
        for inbound in std::mem::take(&mut self.early) {
            let message = self.message(inbound);
            heard.send(Heard::Message(message)).await.ok()?;
        }
        loop {
            match poller.poll().await {
                Ok(Arrival::Message(inbound)) => {
                    let message = self.message(inbound);
                    heard.send(Heard::Message(message)).await.ok()?;
                }
                Ok(_) => {}
                Err(error) => return Some(telemetry::words(&error)),
            }
        }
    }

    fn message(&mut self, inbound: Inbound) -> Message {
        self.sequence += 1;
        let source = self.broker.name.as_str().into();
        Message {
            id: MessageId { source, epoch: 0, sequence: self.sequence },
            topic: inbound.topic,
            payload: inbound.payload,
            received_at: (self.clock)(),
            qos: inbound.qos,
            retained: inbound.retain,
            properties: Arc::new(inbound.properties.unwrap_or_default()),
        }
    }
}
