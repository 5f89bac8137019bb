//! One client's connection to the fake broker.

use std::sync::Arc;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::packets::{self, Delivery, Packet};
use super::{Client, Limits, Order, Shared};

pub(super) async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let number = {
            let mut state = shared.state();
            state.connections += 1;
            state.connections
        };
        connections.spawn(serve(stream, number, Arc::clone(&shared)));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(mut stream: TcpStream, number: usize, shared: Arc<Shared>) {
    let (orders_tx, mut orders) = mpsc::channel(100_000);
    let mut connection =
        Connection { number, client_id: String::new(), version: 0, clean: true, orders_tx, shared };
    let mut buffer = BytesMut::new();
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some(Order::Send(bytes)) => if stream.write_all(&bytes).await.is_err() { break },
                Some(Order::Cut) | None => break,
            },
            read = stream.read_buf(&mut buffer) => {
                if !matches!(read, Ok(count) if count > 0) {
                    break;
                }
                if !connection.work_off(&mut buffer, &mut stream).await {
                    break;
                }
            }
        }
    }
    connection.end();
}

struct Connection {
    number: usize,
    client_id: String,
    version: u8,
    clean: bool,
    orders_tx: mpsc::Sender<Order>,
    shared: Arc<Shared>,
}

impl Connection {
    /// Answers every whole packet in the buffer; `false` ends the connection.
    async fn work_off(&mut self, buffer: &mut BytesMut, stream: &mut TcpStream) -> bool {
        loop {
            if self.version == 0 {
                let Some(version) = packets::version_of(buffer) else { return true };
                self.version = version;
            }
            let packet = match packets::read(buffer, self.version) {
                None => return true,
                Some(Ok(packet)) => packet,
                Some(Err(words)) => {
                    self.shared.record(self.number, &self.client_id, Packet::Broken(words));
                    return false;
                }
            };
            if let Packet::Connect { client_id, .. } = &packet {
                self.client_id.clone_from(client_id);
            }
            self.shared.record(self.number, &self.client_id, packet.clone());
            let Some(answer) = self.answer(packet) else { return false };
            if stream.write_all(&answer).await.is_err() {
                return false;
            }
        }
    }

    /// The bytes to answer; `None` ends the connection.
    fn answer(&mut self, packet: Packet) -> Option<Vec<u8>> {
        let script = self.shared.state().script().clone();
        Some(match packet {
            Packet::Connect { clean, session_expiry, .. } => {
                if script.ignore_connect {
                    return Some(Vec::new());
                }
                if let Some(code) = script.refuse_connect {
                    return self.refuse(code);
                }
                self.clean = clean && session_expiry.unwrap_or(0) == 0;
                let present = self.register(clean);
                let present = script.session_present.unwrap_or(present);
                packets::connack(self.version, present, 0, script.limits)
            }
            Packet::Subscribe { packet_id, filters } => {
                let forbidden =
                    |(filter, _): &(String, u8)| script.close_on_subscribe.as_ref() == Some(filter);
                if filters.iter().any(forbidden) {
                    return None;
                }
                let codes: Vec<u8> = filters
                    .iter()
                    .map(|(filter, qos)| script.suback.get(filter).copied().unwrap_or(*qos))
                    .collect();
                let granted = filters.into_iter().zip(&codes).filter(|(_, code)| **code < 0x80);
                let granted: Vec<_> = granted.map(|((filter, _), _)| filter).collect();
                self.change(|subscriptions| subscriptions.extend(granted));
                if script.withhold_suback {
                    return Some(Vec::new());
                }
                packets::suback(self.version, packet_id, &codes)
            }
            Packet::Unsubscribe { packet_id, filters } => {
                self.change(|subscriptions| subscriptions.retain(|held| !filters.contains(held)));
                packets::unsuback(self.version, packet_id, filters.len())
            }
            Packet::Publish { topic, payload, qos, packet_id, .. } => {
                if script.close_on_publish.is_some_and(|below| topic.starts_with(&below)) {
                    return None;
                }
                let swallowed = script.swallow.is_some_and(|below| topic.starts_with(&below));
                if !swallowed && script.puback.is_none() {
                    self.route(&topic, &payload, qos);
                }
                match qos {
                    _ if script.withhold_puback => Vec::new(),
                    0 => Vec::new(),
                    1 => packets::confirm(4, packet_id, script.puback),
                    _ => packets::confirm(5, packet_id, script.puback),
                }
            }
            Packet::PubRec { packet_id } => packets::confirm(6, packet_id, None),
            Packet::PubRel { packet_id } => packets::confirm(7, packet_id, None),
            Packet::Ping if script.ignore_pings => Vec::new(),
            Packet::Ping => packets::pong(),
            Packet::Disconnect { session_expiry } => {
                self.clean |= session_expiry == Some(0);
                return None;
            }
            Packet::PubAck { .. } | Packet::PubComp { .. } | Packet::Closed | Packet::Broken(_) => {
                Vec::new()
            }
        })
    }

    /// CONNACK with a code leaves by way of the orders, as the connection ends behind it.
    fn refuse(&self, code: u8) -> Option<Vec<u8>> {
        let _ = self.orders_tx.try_send(Order::Send(packets::connack(
            self.version,
            false,
            code,
            Limits::default(),
        )));
        let _ = self.orders_tx.try_send(Order::Cut);
        Some(Vec::new())
    }

    /// Takes the client id over; whether a session was there.
    fn register(&self, clean: bool) -> bool {
        let mut state = self.shared.state();
        let kept = if clean {
            state.sessions.remove(&self.client_id).and(None)
        } else {
            state.sessions.remove(&self.client_id)
        };
        let present = kept.is_some();
        let client = Client {
            connection: self.number,
            version: self.version,
            subscriptions: kept.unwrap_or_default(),
            send: self.orders_tx.clone(),
        };
        if let Some(earlier) = state.clients.insert(self.client_id.clone(), client) {
            if earlier.version == 5 {
                let _ = earlier.send.try_send(Order::Send(packets::disconnect(0x8e)));
            }
            let _ = earlier.send.try_send(Order::Cut);
        }
        present
    }

    fn change(&self, change: impl FnOnce(&mut std::collections::BTreeSet<String>)) {
        let mut state = self.shared.state();
        if let Some(client) = state.clients.get_mut(&self.client_id) {
            change(&mut client.subscriptions);
        }
    }

    fn route(&self, topic: &str, payload: &[u8], qos: u8) {
        let mut state = self.shared.state();
        let mut packet_id = state.next_packet_id;
        for client in state.clients.values() {
            if client.subscriptions.iter().any(|filter| rumqttc_v5::matches(topic, filter)) {
                packet_id = packet_id.checked_add(1).unwrap_or(40_000);
                let delivery = Delivery::new(topic, payload, packet_id).qos(qos);
                let _ =
                    client.send.try_send(Order::Send(packets::publish(client.version, &delivery)));
            }
        }
        state.next_packet_id = packet_id;
    }

    fn end(self) {
        {
            let mut state = self.shared.state();
            let ours = state
                .clients
                .get(&self.client_id)
                .is_some_and(|client| client.connection == self.number);
            if ours
                && let Some(client) = state.clients.remove(&self.client_id)
                && !self.clean
            {
                state.sessions.insert(self.client_id.clone(), client.subscriptions);
            }
        }
        self.shared.record(self.number, &self.client_id, Packet::Closed);
    }
}
