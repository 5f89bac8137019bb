//! MQTT 5 by `rumqttc-v5-next`.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use rumqttc_v5::{
    AckMode, AsyncClient, Broker as Target, ConnAckProperties, ConnectProperties,
    ConnectReturnCode, ConnectionError, DisconnectProperties, DisconnectReasonCode, Event,
    EventLoop, IncomingPacketSizeLimit, LastWill, ManualAck, MqttOptions, NetworkOptions, Packet,
    PersistedAckMode, PersistedSession, PubAck, PubRec, Publish, PublishNoticeError,
    PublishOptions, PublishProperties, QoS, RetainForwardRule, SessionStore, SessionStoreError,
    SessionStoreKey, StateError, SubscribeFilterInput, SubscribeReasonCode, TlsConfiguration,
    TlsError, Transport as Carrier,
};

use super::{
    Arrival, Confirmed, Dial, Granted, Inbound, Limits, Pending, Refusal, WireError, io_words,
    reason,
};
use crate::broker::{RetainHandling, Subscription};
use crate::config::site::Transport;
use crate::message::{Properties, Publication};

pub(in crate::broker) type Client = AsyncClient;

/// Publications in flight on one connection; also what the library's tables are sized by.
const IN_FLIGHT: u16 = 100;

pub(super) fn open(dial: &Dial) -> Result<(Client, Events), WireError> {
    let mut options = target(dial)?;
    options.set_keep_alive(dial.keep_alive_seconds());
    options.set_connect_timeout(dial.broker.connect_timeout);
    options.set_clean_start(dial.clean);
    options.set_connect_properties(ConnectProperties {
        session_expiry_interval: Some(dial.session_expiry),
        receive_maximum: Some(
            u16::try_from(dial.broker.ceiling.messages).unwrap_or(u16::MAX).max(1),
        ),
        max_packet_size: Some(dial.broker.max_packet.max(1)),
        ..ConnectProperties::new()
    });
    options.set_incoming_packet_size_limit(IncomingPacketSizeLimit::Bytes(
        u32::try_from(dial.packet_limit()).unwrap_or(u32::MAX),
    ));
    options.set_outgoing_inflight_upper_limit(IN_FLIGHT);
    options.set_ack_mode(if dial.manual_acks { AckMode::Manual } else { AckMode::Automatic });
    match (&dial.broker.username, &dial.broker.password) {
        (Some(user), Some(password)) => {
            options.set_credentials(user.as_str(), password.reveal().to_owned());
        }
        (Some(user), None) => {
            options.set_username(user.as_str());
        }
        (None, Some(password)) => {
            options.set_password(password.reveal().to_owned());
        }
        (None, None) => {}
    }
    if let Some(will) = &dial.will {
        options.set_last_will(LastWill::new(
            will.topic.as_str(),
            will.payload.clone(),
            level(will.qos),
            will.retain,
            None,
        ));
    }
    if !dial.clean {
        options.set_session_store(NothingInFlight { manual_acks: dial.manual_acks });
    }
    options.set_socket_connector(super::prompt::connect);
    let (client, events) = AsyncClient::builder(options)
        .capacity(super::QUEUE)
        .try_build()
        .map_err(|error| WireError::Other(error.to_string()))?;
    let limit = dial.packet_limit();
    Ok((client, Events { events, limit, client_id: dial.client_id.clone() }))
}

fn target(dial: &Dial) -> Result<MqttOptions, WireError> {
    let id = dial.client_id.as_str();
    let bad = |error: rumqttc_v5::OptionError| WireError::Other(error.to_string());
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
    // Acknowledgements are small and many: nodelay made them three times dearer (measured).
    // Publications go one at a time on a connection of their own and would wait for the
    // other side's delayed ACK.
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(!dial.manual_acks);
    options.set_network_options(network);
    Ok(options)
}

type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, SessionStoreError>> + Send + 'a>>;

/// Tells the library that it owns the session with nothing in flight. Without a store it refuses
/// a session that it did not begin itself, or takes it and then refuses to subscribe. Nothing
/// of ours is in flight from an earlier connection: publications are kept by the outbox.
#[derive(Debug)]
struct NothingInFlight {
    manual_acks: bool,
}

impl SessionStore for NothingInFlight {
    fn load<'a>(&'a self, key: &'a SessionStoreKey) -> StoreFuture<'a, Option<PersistedSession>> {
        let session = PersistedSession {
            format_version: 1,
            client_id: key.client_id().to_owned(),
            clean_start: false,
            session_expiry_interval: None,
            outgoing_inflight_upper_limit: Some(IN_FLIGHT),
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
    client_id: String,
}

impl Events {
    pub(super) async fn poll(&mut self) -> Result<Arrival, WireError> {
        match self.events.poll().await {
            Ok(Event::Incoming(Packet::Publish(publish))) => Ok(Arrival::Message(inbound(publish))),
            Ok(Event::Incoming(Packet::ConnAck(connack))) => {
                // The library would build a checkpoint of its session for every packet.
                self.events.options.clear_session_store();
                Ok(Arrival::Connected {
                    session_present: connack.session_present,
                    limits: connack.properties.as_ref().map(limits).unwrap_or_default(),
                })
            }
            Ok(Event::Incoming(_)) => Ok(Arrival::Sign),
            Ok(_) => Ok(Arrival::Sent),
            Err(error) => Err(self.explain(error)),
        }
    }

    fn explain(&self, error: ConnectionError) -> WireError {
        use rumqttc_v5::Error as Codec;
        match error {
            ConnectionError::ConnectionRefused(ConnectReturnCode::RetainNotSupported) => {
                WireError::NoRetainedWill
            }
            ConnectionError::ConnectionRefused(code) => WireError::Refused(refused(code)),
            ConnectionError::MqttState(StateError::ServerDisconnect {
                reason_code,
                reason_string,
            }) => {
                if reason_code == DisconnectReasonCode::SessionTakenOver {
                    return WireError::TakenOver(self.client_id.clone());
                }
                let words = reason::v5(reason_code as u8);
                WireError::Disconnected(match reason_string {
                    Some(said) => format!("{words} (`{said}`)"),
                    None => words.to_owned(),
                })
            }
            ConnectionError::MqttState(StateError::Deserialization(
                Codec::PayloadSizeLimitExceeded { pkt_size, .. },
            )) => WireError::TooLarge { size: pkt_size, limit: self.limit },
            ConnectionError::MqttState(StateError::IncomingPacketTooLarge { pkt_size, .. }) => {
                WireError::TooLarge { size: pkt_size, limit: self.limit }
            }
            ConnectionError::MqttState(StateError::ConnectionAborted) => WireError::Closed,
            ConnectionError::MqttState(StateError::AwaitPingResp) => {
                WireError::Disconnected("it did not answer a ping".to_owned())
            }
            ConnectionError::MqttState(StateError::Io(error)) | ConnectionError::Io(error) => {
                io_words(&error)
            }
            ConnectionError::MqttState(StateError::Deserialization(Codec::Io(error))) => {
                io_words(&error)
            }
            ConnectionError::Tls(TlsError::Io(error)) => io_words(&error),
            ConnectionError::RequestsDone => WireError::Over,
            other => WireError::Other(other.to_string()),
        }
    }
}

fn limits(said: &ConnAckProperties) -> Limits {
    let does = |available: Option<u8>| available != Some(0);
    let seconds = |seconds| Duration::from_secs(u64::from(seconds));
    Limits {
        session_expiry: said.session_expiry_interval,
        most_qos: said.max_qos.unwrap_or(2),
        retains: does(said.retain_available),
        wildcards: does(said.wildcard_subscription_available),
        shared: does(said.shared_subscription_available),
        largest_packet: said.max_packet_size,
        keep_alive: said.server_keep_alive.map(seconds),
    }
}

/// The library's codes carry no number.
fn refused(code: ConnectReturnCode) -> &'static str {
    use ConnectReturnCode as Code;
    reason::v5(match code {
        Code::RefusedProtocolVersion | Code::UnsupportedProtocolVersion => 0x84,
        Code::BadClientId | Code::ClientIdentifierNotValid => 0x85,
        Code::ServiceUnavailable | Code::ServerUnavailable => 0x88,
        Code::MalformedPacket => 0x81,
        Code::ProtocolError => 0x82,
        Code::ImplementationSpecificError => 0x83,
        Code::BadUserNamePassword => 0x86,
        Code::NotAuthorized => 0x87,
        Code::ServerBusy => 0x89,
        Code::Banned => 0x8a,
        Code::BadAuthenticationMethod => 0x8c,
        Code::TopicNameInvalid => 0x90,
        Code::PacketTooLarge => 0x95,
        Code::QuotaExceeded => 0x97,
        Code::PayloadFormatInvalid => 0x99,
        Code::RetainNotSupported => 0x9a,
        Code::QoSNotSupported => 0x9b,
        Code::UseAnotherServer => 0x9c,
        Code::ServerMoved => 0x9d,
        Code::ConnectionRateExceeded => 0x9f,
        _ => 0x80,
    })
}

fn inbound(publish: Publish) -> Inbound {
    Inbound {
        topic: String::from_utf8_lossy(&publish.topic).into(),
        payload: publish.payload,
        qos: publish.qos as u8,
        retain: publish.retain,
        dup: publish.dup,
        packet_id: publish.pkid,
        properties: publish.properties.map(|from| Properties {
            payload_is_text: from.payload_format_indicator.map(|indicator| indicator == 1),
            message_expiry: from.message_expiry_interval,
            content_type: from.content_type,
            response_topic: from.response_topic,
            correlation_data: from.correlation_data.map(|data| data.to_vec()),
            subscription_identifiers: from
                .subscription_identifiers
                .into_iter()
                .filter_map(|id| u32::try_from(id).ok())
                .collect(),
            user: from.user_properties,
        }),
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
        ManualAck::PubAck(PubAck::new(packet_id, None))
    } else {
        ManualAck::PubRec(PubRec::new(packet_id, None))
    };
    client.try_manual_ack(ack).is_ok()
}

pub(super) fn subscribe(
    client: &Client,
    filters: &[(String, Subscription)],
) -> Result<Pending<Granted>, WireError> {
    let inputs = filters.iter().map(|(filter, how)| {
        SubscribeFilterInput::new(filter.as_str(), level(how.qos))
            .no_local(how.no_local && !filter.starts_with("$share/"))
            .preserve_retain(how.retain_as_published)
            .retain_forward_rule(match how.retain_handling {
                RetainHandling::Always => RetainForwardRule::OnEverySubscribe,
                RetainHandling::IfNew => RetainForwardRule::OnNewSubscribe,
                RetainHandling::Never => RetainForwardRule::Never,
            })
    });
    let notice = client
        .try_subscribe_many_tracked(inputs)
        .map_err(|error| WireError::Other(error.to_string()))?;
    Ok(Box::pin(async move {
        let suback = notice.wait_async().await.map_err(|_| WireError::Over)?;
        Ok(suback.return_codes.into_iter().map(granted).collect())
    }))
}

fn granted(code: SubscribeReasonCode) -> Result<u8, Refusal> {
    use SubscribeReasonCode as Code;
    Err(reason::refusal(match code {
        Code::Success(qos) => return Ok(qos as u8),
        Code::Failure | Code::Unspecified => 0x80,
        Code::ImplementationSpecific => 0x83,
        Code::NotAuthorized => 0x87,
        Code::TopicFilterInvalid => 0x8f,
        Code::PkidInUse => 0x91,
        Code::QuotaExceeded => 0x97,
        Code::SharedSubscriptionsNotSupported => 0x9e,
        Code::SubscriptionIdNotSupported => 0xa1,
        Code::WildcardSubscriptionsNotSupported => 0xa2,
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
    expiry: Option<Duration>,
) -> Result<Pending<Confirmed>, WireError> {
    let from = &publication.properties;
    let seconds = expiry.map(|left| u32::try_from(left.as_secs().max(1)).unwrap_or(u32::MAX));
    let properties = PublishProperties {
        payload_format_indicator: from.payload_is_text.map(u8::from),
        message_expiry_interval: match (seconds, from.message_expiry) {
            (Some(ours), Some(theirs)) => Some(ours.min(theirs)),
            (ours, theirs) => ours.or(theirs),
        },
        topic_alias: None,
        response_topic: from.response_topic.clone(),
        correlation_data: from.correlation_data.clone().map(Bytes::from),
        user_properties: from.user.clone(),
        // A client must not send them (MQTT 5, 3.3.4-6).
        subscription_identifiers: Vec::new(),
        content_type: from.content_type.clone(),
    };
    let options = PublishOptions::new(level(publication.qos))
        .retain(publication.retain)
        .properties(properties);
    let notice = client
        .try_publish_tracked(publication.topic.as_str(), publication.payload.clone(), options)
        .map_err(|error| match error {
            rumqttc_v5::ClientError::InvalidRequest(_) => {
                WireError::Topic(publication.topic.clone())
            }
            other => WireError::Other(other.to_string()),
        })?;
    Ok(Box::pin(async move {
        notice.wait_completion_async().await.map_err(|error| match error {
            PublishNoticeError::V5PubAck(code) => WireError::Rejected(reason::refusal(code as u8)),
            PublishNoticeError::V5PubRec(code) => WireError::Rejected(reason::refusal(code as u8)),
            PublishNoticeError::V5PubComp(code) => WireError::Rejected(reason::refusal(code as u8)),
            PublishNoticeError::RetainNotSupported => WireError::Rejected(reason::refusal(0x9a)),
            _ => WireError::Over,
        })
    }))
}

pub(super) fn disconnect(client: &Client, session_expiry: Option<u32>) -> bool {
    match session_expiry {
        None => client.try_disconnect().is_ok(),
        Some(seconds) => client
            .try_disconnect_with_properties(
                DisconnectReasonCode::NormalDisconnection,
                DisconnectProperties {
                    session_expiry_interval: Some(seconds),
                    reason_string: None,
                    user_properties: Vec::new(),
                    server_reference: None,
                },
            )
            .is_ok(),
    }
}
