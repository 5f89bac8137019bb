//! Packets of both versions as one log shows them, and the bytes that the fake broker answers.
//!
//! Reading uses the library's codec; what is sent is encoded here by the text of the standards,
//! so that a fault of the codec shows as a difference.

use bytes::BytesMut;

use super::Limits;

/// What a client sent.
#[derive(Clone, Debug, PartialEq)]
pub enum Packet {
    Connect {
        client_id: String,
        /// 4 is MQTT 3.1.1.
        version: u8,
        clean: bool,
        keep_alive: u16,
        username: Option<String>,
        will: Option<(String, Vec<u8>)>,
        session_expiry: Option<u32>,
        max_packet: Option<u32>,
    },
    Subscribe {
        packet_id: u16,
        filters: Vec<(String, u8)>,
    },
    Unsubscribe {
        packet_id: u16,
        filters: Vec<String>,
    },
    Publish {
        topic: String,
        payload: Vec<u8>,
        qos: u8,
        retain: bool,
        dup: bool,
        packet_id: u16,
        expiry: Option<u32>,
    },
    PubAck {
        packet_id: u16,
    },
    PubRec {
        packet_id: u16,
    },
    PubRel {
        packet_id: u16,
    },
    PubComp {
        packet_id: u16,
    },
    Ping,
    Disconnect {
        session_expiry: Option<u32>,
    },
    /// The connection is gone.
    Closed,
    /// The bytes were no packet.
    Broken(String),
}

/// A message to deliver.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: u8,
    pub packet_id: u16,
    pub dup: bool,
    pub retain: bool,
    /// Encoded MQTT 5 properties, without their length.
    pub properties: Vec<u8>,
}

impl Delivery {
    /// A message of QoS 1.
    pub fn new(topic: &str, payload: impl Into<Vec<u8>>, packet_id: u16) -> Self {
        Self {
            topic: topic.to_owned(),
            payload: payload.into(),
            qos: 1,
            packet_id,
            dup: false,
            retain: false,
            properties: Vec::new(),
        }
    }

    /// The same at another QoS.
    pub fn qos(mut self, qos: u8) -> Self {
        self.qos = qos;
        self
    }

    /// The same as a redelivery.
    pub fn again(mut self) -> Self {
        self.dup = true;
        self
    }
}

/// Largest packet that the fake reads.
const LIMIT: u32 = 64 << 20;

/// Takes one packet off the buffer; `None` when more bytes are needed.
pub(super) fn read(buffer: &mut BytesMut, version: u8) -> Option<Result<Packet, String>> {
    if version == 5 {
        match rumqttc_v5::Packet::read(buffer, Some(LIMIT)) {
            Ok(packet) => Some(from_v5(packet)),
            Err(rumqttc_v5::Error::InsufficientBytes(_)) => None,
            Err(error) => Some(Err(error.to_string())),
        }
    } else {
        match rumqttc_v4::Packet::read(buffer, LIMIT as usize) {
            Ok(packet) => Some(from_v4(packet)),
            Err(rumqttc_v4::Error::InsufficientBytes(_)) => None,
            Err(error) => Some(Err(error.to_string())),
        }
    }
}

/// The protocol level in a CONNECT; `None` when more bytes are needed.
pub(super) fn version_of(buffer: &[u8]) -> Option<u8> {
    let lengths = buffer.iter().skip(1).take(4).position(|byte| byte & 0x80 == 0)?;
    // Fixed header, then the name `MQTT` with its length, then the level.
    buffer.get(1 + lengths + 1 + 6).copied()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn from_v5(packet: rumqttc_v5::Packet) -> Result<Packet, String> {
    use rumqttc_v5::{ConnectAuth, Packet as From};
    Ok(match packet {
        From::Connect(connect, will, auth) => Packet::Connect {
            client_id: connect.client_id,
            version: 5,
            clean: connect.clean_start,
            keep_alive: connect.keep_alive,
            username: match auth {
                ConnectAuth::Username { username }
                | ConnectAuth::UsernamePassword { username, .. } => Some(username),
                _ => None,
            },
            will: will.map(|will| (text(&will.topic), will.message.to_vec())),
            session_expiry: connect
                .properties
                .as_ref()
                .and_then(|properties| properties.session_expiry_interval),
            max_packet: connect
                .properties
                .as_ref()
                .and_then(|properties| properties.max_packet_size),
        },
        From::Subscribe(subscribe) => Packet::Subscribe {
            packet_id: subscribe.pkid,
            filters: subscribe
                .filters
                .into_iter()
                .map(|filter| (filter.path, filter.qos as u8))
                .collect(),
        },
        From::Unsubscribe(unsubscribe) => {
            Packet::Unsubscribe { packet_id: unsubscribe.pkid, filters: unsubscribe.filters }
        }
        From::Publish(publish) => Packet::Publish {
            topic: text(&publish.topic),
            payload: publish.payload.to_vec(),
            qos: publish.qos as u8,
            retain: publish.retain,
            dup: publish.dup,
            packet_id: publish.pkid,
            expiry: publish.properties.and_then(|properties| properties.message_expiry_interval),
        },
        From::PubAck(ack) => Packet::PubAck { packet_id: ack.pkid },
        From::PubRec(ack) => Packet::PubRec { packet_id: ack.pkid },
        From::PubRel(ack) => Packet::PubRel { packet_id: ack.pkid },
        From::PubComp(ack) => Packet::PubComp { packet_id: ack.pkid },
        From::PingReq => Packet::Ping,
        From::Disconnect(disconnect) => Packet::Disconnect {
            session_expiry: disconnect
                .properties
                .and_then(|properties| properties.session_expiry_interval),
        },
        other => return Err(format!("a client does not send {:?}", other.packet_type())),
    })
}

fn from_v4(packet: rumqttc_v4::Packet) -> Result<Packet, String> {
    use rumqttc_v4::{ConnectAuth, Packet as From};
    Ok(match packet {
        From::Connect(connect) => Packet::Connect {
            client_id: connect.client_id,
            version: 4,
            clean: connect.clean_session,
            keep_alive: connect.keep_alive,
            username: match connect.auth {
                ConnectAuth::Username { username }
                | ConnectAuth::UsernamePassword { username, .. } => Some(username),
                ConnectAuth::None => None,
            },
            will: connect.last_will.map(|will| (will.topic, will.message.to_vec())),
            session_expiry: None,
            max_packet: None,
        },
        From::Subscribe(subscribe) => Packet::Subscribe {
            packet_id: subscribe.pkid,
            filters: subscribe
                .filters
                .into_iter()
                .map(|filter| (filter.path, filter.qos as u8))
                .collect(),
        },
        From::Unsubscribe(unsubscribe) => {
            Packet::Unsubscribe { packet_id: unsubscribe.pkid, filters: unsubscribe.topics }
        }
        From::Publish(publish) => Packet::Publish {
            topic: text(&publish.topic),
            payload: publish.payload.to_vec(),
            qos: publish.qos as u8,
            retain: publish.retain,
            dup: publish.dup,
            packet_id: publish.pkid,
            expiry: None,
        },
        From::PubAck(ack) => Packet::PubAck { packet_id: ack.pkid },
        From::PubRec(ack) => Packet::PubRec { packet_id: ack.pkid },
        From::PubRel(ack) => Packet::PubRel { packet_id: ack.pkid },
        From::PubComp(ack) => Packet::PubComp { packet_id: ack.pkid },
        From::PingReq => Packet::Ping,
        From::Disconnect => Packet::Disconnect { session_expiry: None },
        other => return Err(format!("a client does not send {:?}", other.packet_type())),
    })
}

pub(super) fn connack(version: u8, session_present: bool, code: u8, limits: Limits) -> Vec<u8> {
    let mut body = vec![u8::from(session_present), code];
    if version == 5 {
        let mut properties = Vec::new();
        for (id, number) in [(0x11, limits.session_expiry), (0x27, limits.max_packet)] {
            if let Some(number) = number {
                properties.push(id);
                properties.extend(number.to_be_bytes());
            }
        }
        let bytes = [
            (0x24, limits.most_qos),
            (0x25, limits.retains.map(u8::from)),
            (0x28, limits.wildcards.map(u8::from)),
            (0x2a, limits.shared.map(u8::from)),
        ];
        for (id, byte) in bytes {
            properties.extend(byte.iter().flat_map(|byte| [id, *byte]));
        }
        body.extend(with_length(&properties));
    }
    packet(0x20, &body)
}

pub(super) fn suback(version: u8, packet_id: u16, codes: &[u8]) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    if version == 5 {
        body.push(0);
    }
    body.extend(codes);
    packet(0x90, &body)
}

pub(super) fn unsuback(version: u8, packet_id: u16, filters: usize) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    if version == 5 {
        body.push(0);
        body.extend(std::iter::repeat_n(0, filters));
    }
    packet(0xb0, &body)
}

/// PUBACK (4), PUBREC (5), PUBREL (6) or PUBCOMP (7).
pub(super) fn confirm(kind: u8, packet_id: u16, code: Option<u8>) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    body.extend(code);
    packet(kind << 4 | if kind == 6 { 2 } else { 0 }, &body)
}

pub(super) fn pong() -> Vec<u8> {
    packet(0xd0, &[])
}

pub(super) fn disconnect(code: u8) -> Vec<u8> {
    packet(0xe0, &[code, 0])
}

pub(super) fn publish(version: u8, delivery: &Delivery) -> Vec<u8> {
    let flags = u8::from(delivery.dup) << 3 | delivery.qos << 1 | u8::from(delivery.retain);
    let mut body = u16::try_from(delivery.topic.len()).unwrap_or(u16::MAX).to_be_bytes().to_vec();
    body.extend(delivery.topic.as_bytes());
    if delivery.qos > 0 {
        body.extend(delivery.packet_id.to_be_bytes());
    }
    if version == 5 {
        body.extend(with_length(&delivery.properties));
    }
    body.extend(&delivery.payload);
    packet(0x30 | flags, &body)
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    bytes.extend(with_length(body));
    bytes
}

/// `body` behind its length as a variable byte integer.
fn with_length(body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(body.len() + 4);
    let mut left = body.len();
    loop {
        let byte = (left % 128) as u8;
        left /= 128;
        bytes.push(if left > 0 { byte | 0x80 } else { byte });
        if left == 0 {
            break;
        }
    }
    bytes.extend(body);
    bytes
}
