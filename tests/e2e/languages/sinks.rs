//! Sinks: the same requests, and the same judgement of answers, in every language.

use std::sync::Arc;

use tapline::message::{
    Content, DeviceId, Event, Item, Measurement, Origin, Publication, Reading, Timestamp,
};
use tapline::module::sink::{Delivery, Device, Response};
use tapline::module::{Role, SettingsId};
use tapline::quantity;

use super::{Code, SETTINGS, Same, in_every_language, instance, message, set};

const OTHERS: SettingsId = SettingsId(2);

fn event(kind: &str) -> Content {
    Content::Item(Item::Event(Event {
        kind: kind.into(),
        device: Some(DeviceId::from("press")),
        channel: "pm1:0".into(),
        at: Some(Timestamp(1_770_000_000_123)),
        data: "{\"for_ms\":5}".into(),
    }))
}

fn delivery(seq: u64, key: &str, content: Content) -> Delivery {
    let device = Device {
        id: key.to_owned(),
        name: "Säge 1".to_owned(),
        labels: vec![("hall".to_owned(), "1".to_owned())],
    };
    Delivery {
        id: format!("00000000-0000-5000-8000-{seq:012x}"),
        bridge: "box".into(),
        replayed: !seq.is_multiple_of(2),
        key: key.into(),
        seq,
        at: Timestamp(1_770_000_000_000 + seq),
        device: (!seq.is_multiple_of(3)).then(|| Arc::new(device)),
        content,
        origin: seq.is_multiple_of(2).then(|| Origin::from(&message(b"{}"))),
    }
}

/// Events of all kinds of names, and what is no event.
fn deliveries() -> Vec<Delivery> {
    let power = quantity::by_name("power_w").expect("it is in the table");
    let reading = Item::Reading(Reading {
        device: None,
        channel: String::new(),
        at: None,
        measurements: vec![Measurement { quantity: power, value: 12.5 }],
    });
    let publication = Item::Publication(Publication {
        broker: None,
        topic: "a/b".into(),
        payload: b"\xff\x00".to_vec(),
        qos: 2,
        retain: true,
        properties: tapline::message::Properties::default(),
    });
    let contents = [
        ("saw", event("overload_started")),
        ("Säge \"1\" \\ \u{1f600}", event("")),
        ("\u{0}\u{1f}\u{7f}\u{85}\u{2028}\t\n\u{8}\u{c}/", event("tür_auf")),
        ("saw", Content::Item(reading)),
        ("saw", Content::Item(publication)),
        ("saw", Content::Message(message(b"{\"power\": 1}"))),
        ("", event("e")),
    ];
    (0..).zip(contents).map(|(seq, (key, content))| delivery(seq, key, content)).collect()
}

fn answers() -> Vec<Response> {
    let headers = vec![("Content-Type".to_owned(), "text/plain".to_owned())];
    let of = |status, body: &[u8]| Response { status, headers: headers.clone(), body: body.into() };
    let statuses = [200, 201, 204, 299, 300, 302, 400, 401, 403, 404, 409, 422, 429, 500, 503];
    let mut all: Vec<_> = statuses.iter().map(|status| of(*status, b"unknown device")).collect();
    // Bodies that are read out to a person: cut within a letter, or no text at all.
    let bodies: [&[u8]; 7] = [
        b"",
        "€".repeat(400).as_bytes(),
        "\u{1f600}".repeat(300).as_bytes(),
        b"\xef\xbb\xbfmarked",
        b"a\xff\xfeb\xc3",
        b"\xe2\x82\xe2\x82\xac\xf0\x9f\x98",
        b"\x00\x1b[31m\r\n",
    ]
    .map(|body| &*Vec::leak(body.to_vec()));
    all.extend(bodies.iter().map(|body| of(422, body)));
    all
}

#[tokio::test]
async fn a_sink_makes_the_same_requests_and_judges_alike_in_every_language() {
    let all = deliveries();
    let batches: Vec<&[Delivery]> = vec![&all, &[], &all[..1], &all[3..4], &all[1..3]];
    let answers = answers();
    let (mut requests, mut judgements) = (Same(None), Same(None));
    for (language, module) in in_every_language(Code::Template, Role::Sink).await {
        let mut sink = instance(&module);
        set(&mut sink, OTHERS, "{\"path\": \"/über?a=1&b=%20\"}");
        let mut found = Vec::new();
        for settings in [SETTINGS, OTHERS] {
            for batch in &batches {
                found.push(sink.encode(settings, None, batch).expect("nothing breaks it"));
            }
        }
        assert_eq!(found[0].refused.len(), 3, "{language}: {found:?}");
        requests.take(language, found, &[&batches[..], &batches[..]].concat());
        let mut found = Vec::new();
        for answer in &answers {
            for sent in [&all[..2], &all[..1]] {
                let session = Some(b"remembered".as_slice());
                let concluded = sink.conclude(SETTINGS, session, sent, answer);
                found.push(concluded.expect("nothing breaks it"));
            }
        }
        let given: Vec<_> = answers.iter().flat_map(|answer| [answer, answer]).collect();
        judgements.take(language, found, &given);
    }
}

/// Answers that a sink which can all judges in all ways, and those to a login.
fn judgements() -> Vec<Response> {
    let of = |judge: Option<&str>, body: &[u8]| {
        let mut headers = vec![("Content-Type".to_owned(), "x".to_owned())];
        headers.extend(judge.map(|judge| ("x-judge".to_owned(), judge.to_owned())));
        Response { status: 200, headers, body: body.into() }
    };
    let mut all: Vec<_> = ["retry", "pause", "split", "each", ""]
        .map(|judge| of(Some(judge), "gründlich".as_bytes()))
        .into();
    all.push(of(None, b""));
    let bodies: [&[u8]; 9] = [
        b"{\"session\": \"ab\xc3\xa4\"}",
        b"{\"session\": 7}",
        b"{}",
        b"[1]",
        b"null",
        b"not JSON",
        b"{\"session\": \"\xff\"}",
        b"\xef\xbb\xbf{}",
        b"{\"session\": \"ab\"} x",
    ];
    all.extend(bodies.iter().map(|body| of(None, body)));
    all
}

#[tokio::test]
async fn all_that_a_sink_can_do_is_the_same_in_every_language() {
    let mut all = deliveries();
    all.push(delivery(7, "saw", event("refuse")));
    let judgements = judgements();
    let sessions: [Option<&[u8]>; 3] = [None, Some(b"s\xc3\xa4\xff"), Some(b"")];
    let (mut requests, mut judged) = (Same(None), Same(None));
    for (language, module) in in_every_language(Code::Whole, Role::Sink).await {
        let mut sink = instance(&module);
        set(&mut sink, OTHERS, "{\"deep\": false}");
        let (mut found, mut given) = (Vec::new(), Vec::new());
        for settings in [SETTINGS, OTHERS] {
            for session in sessions {
                found.push(sink.encode(settings, session, &all).expect("nothing breaks it"));
                given.push((settings, session));
            }
        }
        requests.take(language, found, &given);
        let (mut found, mut given) = (Vec::new(), Vec::new());
        for answer in &judgements {
            for (sent, session) in [(&all[..0], None), (&all[..1], None), (&all[..], sessions[1])] {
                let concluded = sink.conclude(SETTINGS, session, sent, answer);
                found.push(concluded.expect("nothing breaks it"));
                given.push((sent.len(), session, answer));
            }
        }
        judged.take(language, found, &given);
    }
}
