//! Lines as they are read and written.

use std::sync::Arc;

use super::Fault;
use super::lines::Lines;
use super::written::{Line, Said, write_message};
use crate::message::{Message, MessageId, Properties, Timestamp};

fn fault(text: &str) -> String {
    match Line::read(7, text.as_bytes()) {
        Ok(Said::Message(mut line)) => match line.bytes(7) {
            Ok(_) => panic!("nothing is wrong with {text}"),
            Err(Fault { what, remedy, .. }) => format!("{what}; {remedy}"),
        },
        Ok(_) => panic!("nothing is wrong with {text}"),
        Err(Fault { line, what, remedy }) => {
            assert_eq!(line, 7);
            format!("{what}; {remedy}")
        }
    }
}

#[test]
fn a_wrong_line_is_named_with_a_remedy() {
    let cases = [
        ("{\"topic\":\"a\",", "the line is cut off: remove it"),
        ("hello", "write one JSON object a line"),
        ("{\"topic\":\"a\",\"retain\":true}", "unknown field `retain`"),
        ("{\"payload\":\"x\"}", "`topic` is missing"),
        ("{\"topic\":\"a\"}", "`payload` is missing"),
        ("{\"topic\":\"a\",\"payload\":5}", "expected a text"),
        (
            "{\"topic\":\"a\",\"payload\":\"\",\"payload_base64\":\"\"}",
            "keep the one that is right",
        ),
        ("{\"topic\":\"a\",\"payload_base64\":\"%\"}", "no base64"),
        ("{\"topic\":\"a\",\"received_at\":\"yesterday\"}", "a time in RFC 3339"),
        ("{\"topic\":\"a\",\"received_at\":-1}", "a time in RFC 3339"),
        ("{\"topic\":\"a\",\"end\":{\"reason\":\"x\",\"detail\":\"y\"}}", "two things at once"),
        ("{\"wake\":{\"now\":5}}", "missing field `heard`"),
    ];
    for (text, expected) in cases {
        let found = fault(text);
        assert!(found.contains(expected), "{text}: {found}");
    }
}

#[test]
fn times_are_read_in_both_ways() {
    for text in
        ["\"2026-02-12T19:40:18.123Z\"", "\"2026-02-12T20:40:18.123+01:00\"", "1770925218123"]
    {
        let line = format!("{{\"topic\":\"a\",\"payload\":\"\",\"received_at\":{text}}}");
        let Ok(Said::Message(line)) = Line::read(1, line.as_bytes()) else { panic!("{line}") };
        assert_eq!(line.received_at.map(|at| at.0), Some(Timestamp(1_770_925_218_123)), "{text}");
    }
}

#[test]
fn a_message_reads_back_as_it_was_written() {
    let payloads: [&[u8]; 4] = [b"{\"a\":\"\\u00e4\"}\n", b"", b"\xff\x00", "ä\u{0}".as_bytes()];
    for payload in payloads {
        let properties = Properties {
            content_type: Some("application/json".to_owned()),
            correlation_data: Some(vec![0, 255]),
            user: vec![("k".to_owned(), "v".to_owned())],
            ..Properties::default()
        };
        let message = Message {
            id: MessageId { source: "main".into(), epoch: 3, sequence: 9 },
            topic: "hall/\"quoted\"".into(),
            payload: bytes::Bytes::copy_from_slice(payload),
            received_at: Timestamp(1_770_925_218_123),
            qos: 1,
            retained: true,
            properties: Arc::new(properties),
        };
        let mut bytes = Vec::new();
        write_message(&mut bytes, &message, None);
        assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), 1);
        let Ok(Said::Message(mut line)) = Line::read(1, &bytes) else { panic!("{bytes:?}") };
        assert_eq!(line.bytes(1).expect("a payload"), message.payload);
        assert_eq!(line.topic.map(|topic| topic.0.into_owned()).as_deref(), Some(&*message.topic));
        assert_eq!(line.received_at.map(|at| at.0), Some(message.received_at));
        assert_eq!((line.qos, line.retained), (Some(1), Some(true)));
        assert_eq!(line.properties.as_deref(), Some(&*message.properties));
        assert_eq!(line.broker.map(|broker| broker.0.into_owned()).as_deref(), Some("main"));
    }
}

#[test]
fn lines_are_numbered_as_in_an_editor_and_blank_ones_left_out() {
    let mut lines = Lines::new(&b"one\n\n  \r\nfour\r\nfive"[..]);
    let mut found = Vec::new();
    while let Some((number, bytes)) = lines.next().expect("memory is readable") {
        let bytes = bytes.expect("no line is long");
        found.push((number, String::from_utf8_lossy(bytes).into_owned()));
    }
    let expected = [(1, "one"), (4, "four"), (5, "five")];
    assert_eq!(found, expected.map(|(number, text)| (number, text.to_owned())));
    assert_eq!(lines.bytes(), 19);
}
