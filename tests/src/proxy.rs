//! A network that misbehaves when told to: it stands between clients and a broker of this
//! machine, and its weather can change while connections stand.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// How it is between the two; fair by default.
#[derive(Clone, Debug, Default)]
pub struct Weather {
    /// Nothing goes from the client to the broker. Sockets stay open and nobody is told, as
    /// when a cable is cut or a router has forgotten the connection; what is on its way waits.
    pub stalled_up: bool,
    /// Nothing goes from the broker to the client.
    pub stalled_down: bool,
    /// Each piece is held back this long.
    pub delay: Duration,
    /// Bytes a second each way.
    pub rate: Option<u32>,
    /// One byte a packet.
    pub fragments: bool,
}

impl Weather {
    /// Nothing goes either way.
    pub fn black_hole() -> Self {
        Self { stalled_up: true, stalled_down: true, ..Self::default() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the client to the broker.
    Up,
    /// From the broker to the client.
    Down,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// In order: FIN.
    Closed,
    /// RST: what the other side has not read yet is lost with it.
    Reset,
}

/// A running proxy; its connections end when it is dropped.
pub struct Proxy {
    port: u16,
    weather: watch::Sender<Weather>,
    /// Ends each connection that stands.
    end: watch::Sender<Ending>,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    broker: u16,
    accepted: AtomicUsize,
    /// The next connection to have brought so many bytes this way ends with the last of them.
    cut: Mutex<Option<(Way, usize, Ending)>>,
}

impl Proxy {
    /// Stands before the broker on this port, which may come later.
    ///
    /// # Panics
    /// If no port is free.
    pub async fn start(broker: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let port = listener.local_addr().expect("it listens").port();
        let shared = Shared { broker, accepted: AtomicUsize::new(0), cut: Mutex::new(None) };
        let shared = Arc::new(shared);
        let (weather, end) =
            (watch::channel(Weather::default()).0, watch::channel(Ending::Closed).0);
        let accepting = tokio::spawn({
            let (shared, weather, end) = (shared.clone(), weather.clone(), end.clone());
            async move {
                let mut connections = JoinSet::new();
                while let Ok((client, _)) = listener.accept().await {
                    shared.accepted.fetch_add(1, Ordering::Relaxed);
                    let (weather, end) = (weather.subscribe(), end.subscribe());
                    connections.spawn(carry(client, Arc::clone(&shared), weather, end));
                    while connections.try_join_next().is_some() {}
                }
            }
        });
        Self { port, weather, end, shared, accepting }
    }

    /// Where clients find it.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Changes the weather, for connections that stand as well.
    pub fn weather(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    /// Makes it fair.
    pub fn fair(&self) {
        self.weather(Weather::default());
    }

    /// Ends every connection that stands.
    pub fn end(&self, ending: Ending) {
        self.end.send_replace(ending);
    }

    /// Ends one connection, once, behind so many more bytes this way.
    pub fn cut_after(&self, way: Way, bytes: usize, ending: Ending) {
        *self.shared.cut() = Some((way, bytes, ending));
    }

    /// Whether a cut that was asked for is still to come.
    pub fn is_to_cut(&self) -> bool {
        self.shared.cut().is_some()
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.shared.accepted.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Shared {
    fn cut(&self) -> std::sync::MutexGuard<'_, Option<(Way, usize, Ending)>> {
        self.cut.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many of these bytes still go through, and how the connection ends behind them.
    fn let_through(&self, way: Way, bytes: usize) -> (usize, Option<Ending>) {
        let mut cut = self.cut();
        match &mut *cut {
            Some((wanted, left, ending)) if *wanted == way => {
                if *left > bytes {
                    *left -= bytes;
                    return (bytes, None);
                }
                let through = (*left, Some(*ending));
                *cut = None;
                through
            }
            _ => (bytes, None),
        }
    }
}

/// Carries one connection to its end.
async fn carry(
    client: TcpStream,
    shared: Arc<Shared>,
    weather: watch::Receiver<Weather>,
    mut end: watch::Receiver<Ending>,
) {
    // Who cannot reach the broker sees a connection that closes at once.
    let Ok(broker) = TcpStream::connect(("127.0.0.1", shared.broker)).await else { return };
    let plain = client.set_nodelay(true).and_then(|()| broker.set_nodelay(true));
    plain.expect("a socket of this machine can be set up");
    let (mut client_read, mut client_write) = client.into_split();
    let (mut broker_read, mut broker_write) = broker.into_split();
    let up = pump(&mut client_read, &mut broker_write, Way::Up, &shared, weather.clone());
    let down = pump(&mut broker_read, &mut client_write, Way::Down, &shared, weather);
    let ending = tokio::select! {
        ending = up => ending,
        ending = down => ending,
        told = end.changed() => match told {
            Ok(()) => Ok(*end.borrow()),
            Err(_) => Ok(Ending::Closed),
        },
    };
    // A side that broke off does so for the other one too.
    if ending.unwrap_or(Ending::Reset) == Ending::Reset {
        for stream in [client_read.as_ref(), broker_read.as_ref()] {
            let _gone_already = stream.set_zero_linger();
        }
    }
}

/// Carries bytes one way until a side ends or the connection is to be cut.
async fn pump(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    way: Way,
    shared: &Shared,
    mut weather: watch::Receiver<Weather>,
) -> io::Result<Ending> {
    let mut buffer = vec![0; 16 << 10];
    loop {
        passable(&mut weather, way).await?;
        let most = match weather.borrow().rate {
            // Twenty pieces a second.
            Some(rate) => (rate as usize / 20).clamp(1, buffer.len()),
            None => buffer.len(),
        };
        let read = from.read(&mut buffer[..most]).await?;
        if read == 0 {
            return Ok(Ending::Closed);
        }
        // It may have changed while nothing came.
        passable(&mut weather, way).await?;
        let now = weather.borrow().clone();
        tokio::time::sleep(now.delay).await;
        let (through, ending) = shared.let_through(way, read);
        if now.fragments {
            for byte in &buffer[..through] {
                to.write_all(std::slice::from_ref(byte)).await?;
                tokio::task::yield_now().await;
            }
        } else {
            to.write_all(&buffer[..through]).await?;
        }
        if let Some(ending) = ending {
            return Ok(ending);
        }
        if let Some(rate) = now.rate {
            tokio::time::sleep(Duration::from_secs_f64(read as f64 / f64::from(rate))).await;
        }
    }
}

/// Waits until something goes this way.
async fn passable(weather: &mut watch::Receiver<Weather>, way: Way) -> io::Result<()> {
    let goes = |weather: &Weather| match way {
        Way::Up => !weather.stalled_up,
        Way::Down => !weather.stalled_down,
    };
    weather.wait_for(goes).await.map(drop).map_err(io::Error::other)
}
