//! Publications, with time passed in: outages of hours and expiry.

use std::sync::atomic::AtomicBool;

use super::*;
use crate::message::{Properties, Publication};

#[derive(Default)]
struct Broker {
    away: AtomicBool,
    attempts: AtomicU64,
    published: Mutex<Vec<(String, u8, Option<Duration>)>>,
}

impl Publisher for Broker {
    fn publish(&self, publication: Publication, expiry: Option<Duration>) -> Publishing<'_> {
        Box::pin(async move {
            self.attempts.fetch_add(1, Ordering::SeqCst);
            if self.away.load(Ordering::SeqCst) {
                return Err(PublishError::Unreachable("not connected".into()));
            }
            if publication.topic == "forbidden" {
                return Err(PublishError::Refused("not authorized".into()));
            }
            let line = (publication.topic, publication.payload[0], expiry);
            self.published.lock().unwrap().push(line);
            Ok(())
        })
    }
}

fn publish_sink() -> SinkId {
    SinkId::publish("workshop", "main")
}

fn command(topic: &str, number: u8) -> NewDelivery {
    let publication = Publication {
        broker: None,
        topic: topic.into(),
        payload: vec![number],
        qos: 1,
        retain: false,
        properties: Properties::default(),
    };
    NewDelivery {
        content: Content::Item(Item::Publication(publication)),
        ..delivery(publish_sink(), topic, u128::from(number) + 1)
    }
}

fn start(store: &Store, broker: &Arc<Broker>, clock: &TestClock) -> Delivery {
    let mut options = clock.options();
    options.sink_waits =
        Waits { shortest: Duration::from_millis(500), longest: Duration::from_secs(30) };
    let delivery = Delivery::new(store.clone(), options, surroundings());
    delivery.apply(vec![SinkPlan {
        id: publish_sink(),
        way: Way::Publish(broker.clone(), Arc::default()),
        batch: Batch { max: 100, wait: Duration::ZERO },
        module: None,
        answers: None,
        fingerprint: [0; 32],
    }]);
    delivery
}

impl Broker {
    fn payloads(&self, topic: &str) -> Vec<u8> {
        let published = self.published.lock().unwrap();
        published.iter().filter(|line| line.0 == topic).map(|line| line.1).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn an_hour_without_the_broker_is_caught_up_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir);
    let broker = Arc::new(Broker::default());
    broker.away.store(true, Ordering::SeqCst);
    let delivery = start(&store, &broker, &TestClock::default());
    let outbox = (0..20).flat_map(|n| [command("a", n), command("b", n + 100)]).collect();
    enqueue(&store, outbox).await;
    // The first attempt waits for the disk, which a paused clock does not know of.
    while broker.attempts.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let attempts = broker.attempts.load(Ordering::SeqCst);
    assert!((100..300).contains(&attempts), "{attempts} attempts of two keys in an hour");
    assert_eq!((store.outbox_count(&publish_sink()), store.dead_letter_count()), (40, 0));
    broker.away.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(61)).await;
    while store.outbox_count(&publish_sink()) > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(broker.payloads("a"), (0..20).collect::<Vec<_>>());
    assert_eq!(broker.payloads("b"), (100..120).collect::<Vec<_>>());
    delivery.stop(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn what_has_expired_is_never_sent_late() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir);
    let broker = Arc::new(Broker::default());
    broker.away.store(true, Ordering::SeqCst);
    let clock = TestClock::default();
    let delivery = start(&store, &broker, &clock);
    let mut outbox = vec![command("a", 0), command("a", 1), command("a", 2)];
    outbox[0].expires_at = Some(Timestamp(30_000));
    outbox[2].expires_at = Some(Timestamp(90_000));
    enqueue(&store, outbox).await;
    tokio::time::sleep(Duration::from_secs(40)).await;
    clock.0.store(40_000, Ordering::SeqCst);
    broker.away.store(false, Ordering::SeqCst);
    while store.outbox_count(&publish_sink()) > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(broker.payloads("a"), [1, 2]);
    let last = broker.published.lock().unwrap().last().cloned().unwrap();
    assert_eq!(last.2, Some(Duration::from_secs(50)), "the rest of its life goes with it");
    let dead = store.dead_letters(&LetterFilter::default(), 10, None).unwrap();
    assert_eq!(dead.len(), 1);
    assert_eq!((&*dead[0].letter.code, dead[0].letter.attempts), ("expired", 0));
    delivery.stop(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn what_the_broker_refuses_is_set_aside_and_the_rest_goes_out() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir);
    let broker = Arc::new(Broker::default());
    let delivery = start(&store, &broker, &TestClock::default());
    enqueue(&store, vec![command("a", 0), command("forbidden", 1), command("b", 2)]).await;
    while store.outbox_count(&publish_sink()) > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!((broker.payloads("a"), broker.payloads("b")), (vec![0], vec![2]));
    assert_eq!(
        store.dead_letters(&LetterFilter::default(), 10, None).unwrap()[0].letter.detail,
        "not authorized"
    );
    delivery.stop(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_million_rows_of_few_keys_cost_a_few_entries() {
    let mut queue = Queue::new(TestClock::default().options().key_waits);
    for row in 1..=1_000_000_i64 {
        let key = if row % 2 == 0 { "a" } else { "b" };
        queue.add(crate::store::Head { row: crate::store::RowId(row), key: key.into() });
    }
    assert_eq!((queue.ready(), queue.pick(10).len()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_row_that_cannot_be_read_is_set_aside_and_holds_nothing_up() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir);
    enqueue(&store, vec![command("a", 0), command("a", 1), command("b", 2)]).await;
    let database = rusqlite::Connection::open(dir.path().join("tapline.db")).unwrap();
    database.execute("UPDATE outbox SET body = x'63ff' WHERE row = 1", []).unwrap();
    drop(database);
    let broker = Arc::new(Broker::default());
    let delivery = start(&store, &broker, &TestClock::default());
    while store.outbox_count(&publish_sink()) > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!((broker.payloads("a"), broker.payloads("b")), (vec![1], vec![2]));
    let dead = store.dead_letters(&LetterFilter::default(), 10, None).unwrap();
    assert_eq!(dead.len(), 1);
    assert_eq!(
        (&*dead[0].letter.code, dead[0].letter.raw.as_deref()),
        ("unreadable", Some(&b"\x63\xff"[..]))
    );
    delivery.stop(Duration::from_secs(1)).await;
}
