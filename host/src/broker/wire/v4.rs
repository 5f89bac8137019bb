//! MQTT 3.1.1 by `rumqttc-v4-next`.
//!
//! What 3.1.1 lacks is left out: properties, message expiry, no-local, retain handling, a limit
//! on packets that the broker would keep to, and reasons.

use std::pin::Pin;

use bytes::Bytes;
use rumqttc_v4::{
    AckMode, AsyncClient, Broker as Target, ConnectionError, Event, EventLoop, LastWill, ManualAck,
    MqttOptions, NetworkOptions, Packet, PersistedAckMode, PersistedSession, PubAck, PubRec,
    Publish, PublishOptions, QoS, SessionStore, SessionStoreError, SessionStoreKey, StateError,
    SubscribeFilter, SubscribeReasonCode, TlsConfiguration, TlsError, Transport as Carrier,
};

use super::{
    Arrival, Confirmed, Dial, Granted, Inbound, Limits, Pending, Refusal, WireError, io_words,
    reason,
};
use crate::broker::Subscription;
use crate::config::site::Transport;
use crate::message::Publication;

pub(in crate::broker) type Client = AsyncClient;

const IN_FLIGHT: u16 = 100;

pub(super) fn open(dial: &Dial) -> Result<(Client, Events), WireError> {
    let mut options = target(dial)?;
    options.set_keep_alive(dial.keep_alive_seconds());
    options.set_clean_session(dial.clean);
    options.set_max_packet_size(dial.packet_limit(), super::LARGEST);
    options.set_inflight(IN_FLIGHT);
    options.set_ack_mode(if dial.manual_acks { AckMode::Manual } else { AckMode::Automatic });
    match (&dial.broker.username, &dial.broker.password) {
        (Some(user), Some(password)) => {
            options.set_credentials(user.as_str(), password.reveal().to_owned());
        }
        (Some(user), None) => {
            options.set_username(user.as_str());
        }
        // 3.1.1 has no password without a user name.
        (None, Some(password)) => {
            options.set_credentials("", password.reveal().to_owned());
        }
        (None, None) => {}
    }
    if let Some(will) = &dial.will {
        let payload = will.payload.clone();
        options.set_last_will(LastWill::new(
            will.topic.as_str(),
            payload,
            level(will.qos),
            will.retain,
        ));
    }
    if !dial.clean {
        options.set_session_store(NothingInFlight { manual_acks: dial.manual_acks });
    }
    options.set_socket_connector(super::prompt::connect);
    let (client, mut events) = AsyncClient::builder(options)
        .capacity(super::QUEUE)
        .try_build()
        .map_err(|error| WireError::Other(error.to_string()))?;
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(!dial.manual_acks); // why: see v5
    network.set_connection_timeout(dial.broker.connect_timeout.as_secs().max(1));
    events.set_network_options(network);
    Ok((client, Events { events, limit: dial.packet_limit() }))
}

fn target(dial: &Dial) -> Result<MqttOptions, WireError> {
    let id = dial.client_id.as_str();
    let bad = |error: rumqttc_v4::OptionError| WireError::Other(error.to_string());
    let mut options = match dial.broker.transport {
        Transport::Tcp | Transport::Tls => {
            MqttOptions::new(id, Target::tcp(dial.address(), dial.broker.port))
        }
        Transport::WebSocket => {
            MqttOptions::new(id, Target::websocket(dial.websocket_url("ws")).map_err(bad)?)
        }
        Transport::WebSocketTls => MqttOptions::websocket_with_tls_config(
            id,
            dial.websocket_url("wss"),
            TlsConfiguration::Rustls(dial.tls()?),
        )
        .map_err(bad)?,
    };
    match dial.broker.transport {
        Transport::Tls => {
            let tls = TlsConfiguration::Rustls(dial.tls()?);
            options.set_transport(Carrier::tls_with_config(tls));
        }
        Transport::WebSocket => {
            options.set_transport(Carrier::ws());
        }
        Transport::Tcp | Transport::WebSocketTls => {}
    }
    Ok(options)
}

type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, SessionStoreError>> + Send + 'a>>;

/// Why it is needed: see v5.
#[derive(Debug)]
struct NothingInFlight {
    manual_acks: bool,
}

impl SessionStore for NothingInFlight {
    fn load<'a>(&'a self, key: &'a SessionStoreKey) -> StoreFuture<'a, Option<PersistedSession>> {
        let session = PersistedSession {
            format_version: 1,
            client_id: key.client_id().to_owned(),
            clean_session: false,
            max_inflight: IN_FLIGHT,
            ack_mode: if self.manual_acks {
                PersistedAckMode::Manual
            } else {
                PersistedAckMode::Automatic
            },
            last_pkid: 0,
            last_puback: 0,
            replay: Vec::new(),
            incoming_qos2: Vec::new(),
        };
        Box::pin(async move { Ok(Some(session)) })
    }

    fn save<'a>(&'a self, _: &'a SessionStoreKey, _: &'a PersistedSession) -> StoreFuture<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn clear<'a>(&'a self, _: &'a SessionStoreKey) -> StoreFuture<'a, ()> {
        Box::pin(async { Ok(()) })
    }
}

pub(in crate::broker) struct Events {
    events: EventLoop,
    limit: usize,
}

impl Events {
    pub(super) async fn poll(&mut self) -> Result<Arrival, WireError> {
        match self.events.poll().await {
            Ok(Event::Incoming(Packet::Publish(publish))) => Ok(Arrival::Message(inbound(publish))),
            Ok(Event::Incoming(Packet::ConnAck(connack))) => {
                self.events.mqtt_options.clear_session_store();
                Ok(Arrival::Connected {
                    session_present: connack.session_present,
                    limits: Limits::default(),
                })
            }
            Ok(Event::Incoming(_)) => Ok(Arrival::Sign),
            Ok(Event::Outgoing(_)) => Ok(Arrival::Sent),
            Err(error) => Err(self.explain(error)),
        }
    }

    fn explain(&self, error: ConnectionError) -> WireError {
        match error {
            ConnectionError::ConnectionRefused(code) => {
                WireError::Refused(reason::connect_v4(code as u8))
            }
            ConnectionError::MqttState(StateError::Deserialization(
                rumqttc_v4::Error::PayloadSizeLimitExceeded(size),
            )) => WireError::TooLarge { size, limit: self.limit },
            ConnectionError::MqttState(StateError::ConnectionAborted) => WireError::Closed,
            ConnectionError::MqttState(StateError::AwaitPingResp) => {
                WireError::Disconnected("it did not answer a ping".to_owned())
            }
            ConnectionError::MqttState(StateError::Io(error)) | ConnectionError::Io(error) => {
                io_words(&error)
            }
            ConnectionError::MqttState(StateError::Deserialization(rumqttc_v4::Error::Io(
                error,
            ))) => io_words(&error),
            ConnectionError::Tls(TlsError::Io(error)) => io_words(&error),
            ConnectionError::RequestsDone => WireError::Over,
            other => WireError::Other(other.to_string()),
        }
    }
}

fn inbound(publish: Publish) -> Inbound {
    Inbound {
        topic: String::from_utf8_lossy(&publish.topic).into(),
        payload: publish.payload,
        qos: publish.qos as u8,
        retain: publish.retain,
        dup: publish.dup,
        packet_id: publish.pkid,
        properties: None,
    }
}

fn level(qos: u8) -> QoS {
    match qos {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        _ => QoS::ExactlyOnce,
    }
}

pub(super) fn ack(client: &Client, qos: u8, packet_id: u16) -> bool {
    let ack = if qos == 1 {
        ManualAck::PubAck(PubAck::new(packet_id))
    } else {
        ManualAck::PubRec(PubRec::new(packet_id))
    };
    client.try_manual_ack(ack).is_ok()
}

pub(super) fn subscribe(
    client: &Client,
    filters: &[(String, Subscription)],
) -> Result<Pending<Granted>, WireError> {
    let notice = client
        .try_subscribe_many_tracked(
            filters
                .iter()
                .map(|(filter, how)| SubscribeFilter::new(filter.clone(), level(how.qos))),
        )
        .map_err(|error| WireError::Other(error.to_string()))?;
    Ok(Box::pin(async move {
        let suback = notice.wait_async().await.map_err(|_| WireError::Over)?;
        let codes = suback.return_codes.into_iter().map(|code| match code {
            SubscribeReasonCode::Success(qos) => Ok(qos as u8),
            SubscribeReasonCode::Failure => {
                Err(Refusal { code: 0x80, words: "it gives no reason" })
            }
        });
        Ok(codes.collect())
    }))
}

pub(super) fn unsubscribe(
    client: &Client,
    filters: &[String],
) -> Result<Pending<Confirmed>, WireError> {
    let notice = client
        .try_unsubscribe_many_tracked(filters.iter().map(String::as_str))
        .map_err(|error| WireError::Other(error.to_string()))?;
    Ok(Box::pin(async move { notice.wait_async().await.map(drop).map_err(|_| WireError::Over) }))
}

pub(super) fn publish(
    client: &Client,
    publication: &Publication,
) -> Result<Pending<Confirmed>, WireError> {
    let options = PublishOptions::new(level(publication.qos)).retain(publication.retain);
    let payload = Bytes::from(publication.payload.clone());
    let notice = client.try_publish_tracked(publication.topic.as_str(), payload, options).map_err(
        |error| match error {
            rumqttc_v4::ClientError::InvalidRequest(_) => {
                WireError::Topic(publication.topic.clone())
            }
            other => WireError::Other(other.to_string()),
        },
    )?;
    Ok(Box::pin(async move { notice.wait_async().await.map(drop).map_err(|_| WireError::Over) }))
}

pub(super) fn disconnect(client: &Client) -> bool {
    client.try_disconnect().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_a_topic_that_is_not_utf8_readable() {
        let mut publish = Publish::from_bytes("x", QoS::AtMostOnce, Bytes::new());
        publish.topic = Bytes::from_static(b"a/\xff");
        assert_eq!(&*inbound(publish).topic, "a/\u{fffd}");
    }
}
