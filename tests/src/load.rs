//! Many messages a second: MQTT 3.1.1 written by hand onto one connection, because what is
//! measured must not wait for its client.

use std::io::{self, BufWriter, Read, Write};
use std::net::TcpStream;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::bench::COURSE;
use crate::machine::Machine;
use crate::wait::PATIENCE;

/// Course after course of all machines at a time, a hundred seconds apart.
pub fn courses(
    machines: Arc<[Machine]>,
    rounds: Range<usize>,
) -> impl Iterator<Item = (String, Vec<u8>)> + Send {
    let reports = rounds
        .flat_map(|round| COURSE.map(|(second, power)| ((round * 100) as f64 + second, power)));
    reports.flat_map(move |(at, power)| {
        let machines = machines.clone();
        (0..machines.len()).map(move |n| (machines[n].topic(), machines[n].report(at, power)))
    })
}

/// Messages without an answer at most; packet ids must not come round.
const WINDOW: u64 = 2000;

/// A connection that publishes at QoS 1 as fast as it is told to.
pub struct Load {
    stream: BufWriter<TcpStream>,
    acknowledged: Arc<AtomicU64>,
    sent: u64,
    retain: bool,
    reader: Option<JoinHandle<io::Result<()>>>,
}

impl Load {
    /// Connects to a broker of this machine that lets everyone in.
    ///
    /// # Errors
    /// If it does not.
    pub fn connect(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        let mut reading = stream.try_clone()?;
        let mut stream = BufWriter::with_capacity(64 << 10, stream);
        let id = b"load";
        // CONNECT: protocol name and level 4, clean session, no keep-alive, client id.
        stream.write_all(&[0x10, 12 + id.len() as u8, 0, 4])?;
        stream.write_all(b"MQTT\x04\x02\0\0\0")?;
        stream.write_all(&[id.len() as u8])?;
        stream.write_all(id)?;
        stream.flush()?;
        let mut answer = [0; 4];
        reading.read_exact(&mut answer)?;
        if answer != [0x20, 2, 0, 0] {
            return Err(io::Error::other(format!("the broker answered {answer:?}")));
        }
        let acknowledged = Arc::new(AtomicU64::new(0));
        let counted = acknowledged.clone();
        let reader = std::thread::spawn(move || {
            // PUBACKs are all that comes, four bytes each.
            let mut packets = [0; 4096];
            let mut kept = 0;
            loop {
                let read = reading.read(&mut packets[kept..])?;
                if read == 0 {
                    return Ok(());
                }
                let there = kept + read;
                counted.fetch_add(there as u64 / 4, Ordering::Release);
                kept = there % 4;
            }
        });
        Ok(Self { stream, acknowledged, sent: 0, retain: false, reader: Some(reader) })
    }

    /// The same, and the broker keeps what is published.
    #[must_use]
    pub fn retaining(mut self) -> Self {
        self.retain = true;
        self
    }

    /// Publishes beside what goes on, at most `rate` messages a second; gives their number once
    /// the broker has acknowledged all of them.
    ///
    /// # Panics
    /// If the broker does not take them.
    pub async fn stream(
        port: u16,
        messages: impl Iterator<Item = (String, Vec<u8>)> + Send + 'static,
        rate: u32,
    ) -> u64 {
        let sent =
            tokio::task::spawn_blocking(move || Self::connect(port)?.publish(messages, rate));
        sent.await.expect("it ends").expect("the broker takes everything")
    }

    /// Publishes at most `rate` messages a second and waits until the broker has acknowledged
    /// all of them.
    ///
    /// # Errors
    /// If the connection breaks, or the broker acknowledges nothing for half a minute.
    pub fn publish(
        &mut self,
        messages: impl Iterator<Item = (String, Vec<u8>)>,
        rate: u32,
    ) -> io::Result<u64> {
        let (begun, before) = (Instant::now(), self.sent);
        for (topic, payload) in messages {
            self.message(&topic, &payload)?;
            self.sent += 1;
            let due = Duration::from_secs_f64((self.sent - before) as f64 / f64::from(rate));
            if let Some(early) = due.checked_sub(begun.elapsed())
                && early > Duration::from_millis(2)
            {
                self.stream.flush()?;
                std::thread::sleep(early);
            }
            if self.sent - self.acknowledged.load(Ordering::Acquire) >= WINDOW {
                self.answered(WINDOW / 2)?;
            }
        }
        self.answered(0)?;
        Ok(self.sent - before)
    }

    fn message(&mut self, topic: &str, payload: &[u8]) -> io::Result<()> {
        let mut rest = 2 + topic.len() + 2 + payload.len();
        self.stream.write_all(&[0x32 | u8::from(self.retain)])?;
        loop {
            let more = if rest > 127 { 0x80 } else { 0 };
            self.stream.write_all(&[(rest & 127) as u8 | more])?;
            rest >>= 7;
            if rest == 0 {
                break;
            }
        }
        let id = (self.sent % 0xffff) as u16 + 1;
        self.stream.write_all(&(topic.len() as u16).to_be_bytes())?;
        self.stream.write_all(topic.as_bytes())?;
        self.stream.write_all(&id.to_be_bytes())?;
        self.stream.write_all(payload)
    }

    /// Waits until at most so many are without an answer.
    fn answered(&mut self, most: u64) -> io::Result<()> {
        self.stream.flush()?;
        let (mut last, mut since) = (0, Instant::now());
        loop {
            let acknowledged = self.acknowledged.load(Ordering::Acquire);
            if self.sent - acknowledged <= most {
                return Ok(());
            }
            if acknowledged != last {
                (last, since) = (acknowledged, Instant::now());
            } else if since.elapsed() > PATIENCE {
                return Err(io::Error::other("the broker acknowledges nothing any more"));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // It ends the reader too; a broker that is gone already is as good.
        let _closed = self.stream.get_ref().shutdown(std::net::Shutdown::Both);
        if let Some(reader) = self.reader.take() {
            let _ended = reader.join();
        }
    }
}
