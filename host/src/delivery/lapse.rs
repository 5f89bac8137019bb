//! What becomes of a delivery whose time has run out: it is set aside, and the sender of a
//! command hears of it.
//!
//! Who sends a command and waits for an answer says where (MQTT 5: the response topic). A command
//! that expired before the broker took it is one that no device will ever answer, so word of it
//! goes there in the device's place. Invariant: that word is in the commit of the dead letter, and
//! goes only where the pipeline may publish.

use serde_json::json;
use uuid::Uuid;

use crate::config::topic::Pattern;
use crate::message::{Content, Item, Properties, Publication, Rejection};
use crate::store::NewDelivery;

/// The end of a delivery that was never sent.
pub(super) struct Lapse {
    /// For the dead letter.
    pub(super) why: Rejection,
    /// For the sender, if it can be told.
    pub(super) word: Option<NewDelivery>,
}

impl Lapse {
    /// Of a delivery that has expired, in a pipeline that may publish to `allowed`.
    pub(super) fn of(delivery: &NewDelivery, allowed: &[Pattern]) -> Self {
        let at = delivery.expires_at.unwrap_or_default();
        let mut detail = format!("not delivered by {at}");
        let word = match &delivery.content {
            Content::Item(Item::Publication(command)) => match asker(command) {
                Some(topic) if may_publish(topic, allowed) => {
                    Some(word(delivery, command, topic.to_owned()))
                }
                Some(topic) => {
                    detail.push_str(&format!(
                        "; its sender is not told, because response topic `{topic}` is not under \
                         [publish] allow of the pipeline"
                    ));
                    None
                }
                None => None,
            },
            _ => None,
        };
        Self { why: Rejection::new("expired", detail), word }
    }
}

/// Where the sender of a command listens.
fn asker(command: &Publication) -> Option<&str> {
    command.properties.response_topic.as_deref().filter(|topic| !topic.is_empty())
}

fn may_publish(topic: &str, allowed: &[Pattern]) -> bool {
    !topic.contains(['+', '#']) && allowed.iter().any(|pattern| pattern.matches(topic))
}

/// Carries what the sender gave the command to recognise its answer by. It has no response topic
/// of its own and does not expire: word of a word there is none.
fn word(delivery: &NewDelivery, command: &Publication, topic: String) -> NewDelivery {
    let payload = json!({
        "outcome": "expired",
        "topic": command.topic,
        "delivery": delivery.id.to_string(),
        "expired_at": delivery.expires_at.map(|at| at.rfc3339()),
    });
    let properties = Properties {
        payload_is_text: Some(true),
        content_type: Some("application/json".to_owned()),
        correlation_data: command.properties.correlation_data.clone(),
        ..Properties::default()
    };
    let publication = Publication {
        broker: command.broker.clone(),
        topic,
        payload: payload.to_string().into_bytes(),
        qos: 1,
        retain: false,
        properties,
    };
    NewDelivery {
        id: Uuid::new_v5(&delivery.id, b"expired"),
        content: Content::Item(Item::Publication(publication)),
        expires_at: None,
        replayed: false,
        ..delivery.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Timestamp;
    use crate::store::SinkId;

    fn command(response_topic: Option<&str>) -> NewDelivery {
        let publication = Publication {
            broker: None,
            topic: "lamps/7".into(),
            payload: b"ON".to_vec(),
            qos: 0,
            retain: false,
            properties: Properties {
                response_topic: response_topic.map(str::to_owned),
                correlation_data: Some(vec![7, 0, 255]),
                ..Properties::default()
            },
        };
        NewDelivery {
            sink: SinkId::publish("commands", "main"),
            id: Uuid::from_u128(7),
            key: "lathe".into(),
            at: Timestamp(1),
            device: None,
            content: Content::Item(Item::Publication(publication)),
            origin: None,
            message: None,
            expires_at: Some(Timestamp(30_000)),
            replayed: false,
        }
    }

    #[test]
    fn tells_the_sender_where_it_listens_and_the_pipeline_may_publish() {
        let allowed = [Pattern::parse("lamps/#").unwrap(), Pattern::parse("answers/+").unwrap()];
        for (response_topic, told) in [
            (Some("answers/panel"), true),
            (Some("answers/panel/deep"), false),
            (Some("answers/+"), false),
            (Some(""), false),
            (None, false),
        ] {
            let lapse = Lapse::of(&command(response_topic), &allowed);
            assert_eq!(lapse.word.is_some(), told, "{response_topic:?}");
            let mute = !told && response_topic.is_some_and(|topic| !topic.is_empty());
            assert_eq!(lapse.why.detail.contains("not told"), mute, "{}", lapse.why.detail);
        }
    }

    #[test]
    fn the_word_is_of_that_command_and_expires_never() {
        let allowed = [Pattern::parse("#").unwrap()];
        let lapse = Lapse::of(&command(Some("answers/panel")), &allowed);
        let word = lapse.word.unwrap();
        assert_eq!((&*word.key, word.expires_at), ("lathe", None));
        let again = Lapse::of(&command(Some("answers/panel")), &allowed).word.unwrap();
        assert_eq!((word.id, word.id == Uuid::from_u128(7)), (again.id, false));
        let Content::Item(Item::Publication(publication)) = &word.content else {
            panic!("{word:?}")
        };
        assert_eq!(publication.topic, "answers/panel");
        assert_eq!(publication.properties.correlation_data.as_deref(), Some(&[7, 0, 255][..]));
        let payload: serde_json::Value = serde_json::from_slice(&publication.payload).unwrap();
        assert_eq!(
            (&payload["outcome"], &payload["topic"]),
            (&"expired".into(), &"lamps/7".into())
        );
        assert!(Lapse::of(&word, &allowed).word.is_none(), "no word of a word");
    }
}
