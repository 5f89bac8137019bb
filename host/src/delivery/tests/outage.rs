//! An hour without the other side, in virtual time: how often it is asked, and that everything
//! comes once and in order when it is back.

use std::collections::BTreeSet;

use super::super::http::{SendError, Sending};
use super::*;

const HOUR: Duration = Duration::from_secs(3600);
const MINUTE: Duration = Duration::from_secs(60);
const DEVICES: [&str; 5] = ["a", "b", "c", "d", "e"];
/// The usual time-out of an endpoint.
const TIMEOUT: Duration = Duration::from_secs(130);

/// What the other side does for an hour.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Outage {
    Refuses,
    /// It answers 503.
    Busy,
    /// No answer comes.
    Hangs,
    /// What it is sent takes effect, and no answer comes.
    LosesAnswers,
}

/// Takes events as the stand-in does, without a network, which knows no virtual time.
struct Far {
    outage: Outage,
    /// From when to when.
    away: Mutex<Option<(Instant, Instant)>>,
    asked: Mutex<Vec<Instant>>,
    /// Device and id of everything that took effect, once.
    taken: Mutex<Vec<(String, String)>>,
    ids: Mutex<BTreeSet<String>>,
}

impl Far {
    fn take(&self, request: &Request) -> Response {
        let Part::Bytes(body) = &request.body[0] else { panic!("no secret is asked for") };
        let body: Value = serde_json::from_slice(body).unwrap();
        let mut results = Vec::new();
        for event in body["events"].as_array().unwrap() {
            let text = |name: &str| event[name].as_str().unwrap().to_owned();
            let (device, uid) = (text("device_id"), text("event_uid"));
            let is_new = self.ids.lock().unwrap().insert(uid.clone());
            if is_new {
                self.taken.lock().unwrap().push((device, uid.clone()));
            }
            let status = if is_new { "created" } else { "duplicate" };
            results.push(json!({"event_uid": uid, "status": status}));
        }
        answer(200, &json!({"results": results}).to_string())
    }

    fn is_away(&self, now: Instant) -> bool {
        self.away.lock().unwrap().is_some_and(|(from, until)| (from..until).contains(&now))
    }

    /// When it was asked while it was away.
    fn asked_in_vain(&self) -> Vec<Instant> {
        let asked = self.asked.lock().unwrap();
        asked.iter().copied().filter(|at| self.is_away(*at)).collect()
    }

    fn taken_of(&self, device: &str) -> Vec<String> {
        let taken = self.taken.lock().unwrap();
        let its = taken.iter().filter(|(of, _)| of == device);
        its.map(|(_, uid)| uid.clone()).collect()
    }
}

fn answer(status: u16, body: &str) -> Response {
    Response { status, headers: Vec::new(), body: body.as_bytes().to_vec() }
}

impl Transport for Far {
    fn send(&self, request: Request) -> Sending<'_> {
        Box::pin(async move {
            let now = Instant::now();
            self.asked.lock().unwrap().push(now);
            if !self.is_away(now) {
                return Ok(self.take(&request));
            }
            match self.outage {
                Outage::Refuses => return Err(SendError::Unreachable("refused".into())),
                Outage::Busy => return Ok(answer(503, "")),
                Outage::Hangs => {}
                Outage::LosesAnswers => drop(self.take(&request)),
            }
            tokio::time::sleep(TIMEOUT).await;
            Err(SendError::Unknown("no answer in time".into()))
        })
    }
}

/// A sink that delivers to `far` as the program's do.
struct Sink {
    store: Store,
    far: Arc<Far>,
    board: Arc<Board>,
    _stop: watch::Sender<Option<Instant>>,
    _dir: tempfile::TempDir,
    enqueued: u128,
}

impl Sink {
    fn start(outage: Outage) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir);
        let far = Arc::new(Far {
            outage,
            away: Mutex::default(),
            asked: Mutex::default(),
            taken: Mutex::default(),
            ids: Mutex::default(),
        });
        let begun = Instant::now();
        let elapsed = move || u64::try_from(begun.elapsed().as_millis()).unwrap();
        let (stop, stopping) = watch::channel(None);
        let (_, surroundings) = watch::channel(surroundings());
        let plan = plan(endpoint(None), Quirks::default(), 100);
        let Way::Http(way) = &plan.way else { panic!("it goes by HTTP") };
        let channel = exchanger(&plan, way, far.clone());
        let board = Arc::<Board>::default();
        let seed = Seed {
            plan,
            store: store.clone(),
            options: Options::new(Arc::new(move || Timestamp(1_000 + elapsed()))),
            surroundings,
            board: board.clone(),
            resume: Arc::default(),
            stop: stopping,
        };
        tokio::spawn(seed.worker(channel).run());
        Self { store, far, board, _stop: stop, _dir: dir, enqueued: 0 }
    }

    /// One event of each device comes each minute, for so long.
    async fn work(&mut self, minutes: u32) {
        let begun = Instant::now();
        for minute in 1..=minutes {
            self.enqueued += 1;
            let numbers = (self.enqueued * 10..).zip(DEVICES);
            let outbox = numbers.map(|(number, device)| delivery(sink_id(), device, number));
            self.enqueue(outbox.collect()).await;
            tokio::time::sleep_until(begun + minute * MINUTE).await;
        }
    }

    /// Virtual time stands while a thread of the runtime is at work; without one it would run
    /// off while the store writes.
    async fn enqueue(&self, outbox: Vec<NewDelivery>) {
        let (store, runtime) = (self.store.clone(), tokio::runtime::Handle::current());
        let written = move || runtime.block_on(enqueue(&store, outbox));
        tokio::task::spawn_blocking(written).await.unwrap();
    }

    async fn drained(&self) {
        let begun = Instant::now();
        while self.store.outbox_count(&sink_id()) > 0 {
            // Behind what the sink writes down.
            self.enqueue(Vec::new()).await;
            assert!(begun.elapsed() < 24 * HOUR, "{:?}", self.board.read());
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Everything of each device arrived, once, in its order.
    fn holds(&self) {
        for (place, device) in (0..).zip(DEVICES) {
            let expected = (1..=self.enqueued).map(|n| Uuid::from_u128(n * 10 + place));
            let expected: Vec<_> = expected.map(|id| id.to_string()).collect();
            assert_eq!(self.far.taken_of(device), expected, "{device}");
        }
        assert_eq!(self.store.dead_letter_count(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn an_hour_without_odoo_is_asked_about_ever_more_rarely_and_caught_up_in_order() {
    for (outage, most) in [
        (Outage::Refuses, 130),
        (Outage::Busy, 130),
        (Outage::Hangs, 30),
        (Outage::LosesAnswers, 30),
    ] {
        let mut sink = Sink::start(outage);
        sink.work(5).await;
        sink.drained().await;
        let from = Instant::now();
        *sink.far.away.lock().unwrap() = Some((from, from + HOUR));
        sink.work(55).await;
        // A sink in trouble is asked less and less often, whatever else comes meanwhile.
        let asked = sink.far.asked_in_vain();
        let gaps: Vec<_> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let timeout = if asked.len() > 40 { Duration::ZERO } else { TIMEOUT };
        let is_within = |gap: &Duration, least: f64, most: f64| {
            let waited = gap.saturating_sub(timeout).as_secs_f64();
            (least - 0.01..=most + 0.01).contains(&waited)
        };
        for (gap, least) in gaps.iter().zip([0.5, 1.0, 2.0, 4.0, 8.0, 16.0]) {
            assert!(is_within(gap, least, 2.0 * least), "{outage:?}: {gaps:?}");
        }
        let late = &gaps[6..];
        assert!(late.iter().all(|gap| is_within(gap, 30.0, 60.0)), "{outage:?}: {gaps:?}");
        assert!((15..=most).contains(&asked.len()), "{outage:?}: {} tries", asked.len());
        let status = sink.board.read();
        assert_eq!((status.paused, status.last_error.is_some()), (None, true), "{outage:?}");

        sink.work(10).await;
        sink.drained().await;
        sink.holds();
        println!("{outage:?}: asked {} times in an hour", sink.far.asked_in_vain().len());
    }
}
