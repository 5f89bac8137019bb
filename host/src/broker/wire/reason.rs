//! Codes of MQTT in words.

use super::Refusal;

/// Why CONNECT was refused, MQTT 3.1.1 (section 3.2.2.3).
pub(super) fn connect_v4(code: u8) -> &'static str {
    match code {
        1 => "it does not speak MQTT 3.1.1",
        2 => "it does not accept the client id",
        3 => "the MQTT service is not available",
        4 => "user name or password is wrong",
        5 => "this client is not allowed to connect",
        _ => "for a reason that MQTT 3.1.1 does not know",
    }
}

/// A reason code of MQTT 5 (section 2.4) as CONNACK, PUBACK, SUBACK or DISCONNECT use it.
pub(super) fn v5(code: u8) -> &'static str {
    match code {
        0x80 => "it gives no reason",
        0x81 => "a packet was malformed",
        0x82 => "a packet broke the protocol",
        0x83 => "its implementation does not accept this",
        0x84 => "it does not speak MQTT 5",
        0x85 => "it does not accept the client id",
        0x86 => "user name or password is wrong",
        0x87 => "this client is not allowed to",
        0x88 => "the server is not available",
        0x89 => "the server is busy",
        0x8a => "this client is banned",
        0x8b => "the server is shutting down",
        0x8c => "the authentication method is not supported",
        0x8d => "it heard nothing within the keep-alive",
        0x8e => "another client took the session over",
        0x8f => "the topic filter is not valid",
        0x90 => "the topic is not valid",
        0x91 => "the packet id is in use",
        0x93 => "more was in flight than it allows",
        0x95 => "a packet was too large",
        0x96 => "messages came too fast",
        0x97 => "a quota is exhausted",
        0x98 => "an administrator ended it",
        0x99 => "the payload is not what it was declared to be",
        0x9a => "retained messages are not supported",
        0x9b => "the QoS is not supported",
        0x9c => "another server should be used for now",
        0x9d => "the server has moved",
        0x9e => "shared subscriptions are not supported",
        0x9f => "connections come too fast",
        0xa0 => "the connection lasted as long as it may",
        0xa1 => "subscription identifiers are not supported",
        0xa2 => "wildcard subscriptions are not supported",
        _ => "for a reason that MQTT 5 does not know",
    }
}

/// A refusal with its words.
pub(super) fn refusal(code: u8) -> Refusal {
    Refusal { code, words: v5(code) }
}
