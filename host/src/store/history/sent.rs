//! What the history keeps of publications that their broker has confirmed.

use rusqlite::Connection;

use super::{Block, Record};
use crate::message::{Content, Item, Timestamp};
use crate::store::apply::unsigned;
use crate::store::commit::{NewDelivery, Settlement};
use crate::store::encoding::{self, DeliveryColumns};
use crate::store::error::StoreError;
use crate::store::large;

/// Publications of one commit, and when they were confirmed.
#[derive(Default)]
pub(in crate::store) struct Sent(Vec<(NewDelivery, Timestamp)>);

impl Sent {
    /// Takes note of a row before it goes, if it went to a broker.
    pub(in crate::store) fn note(
        &mut self,
        connection: &Connection,
        settlement: &Settlement,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        if settlement.sink.broker().is_none() {
            return Ok(());
        }
        let mut select = connection
            .prepare_cached("SELECT key, id, at, expires_at, body FROM outbox WHERE row = ?1")?;
        let mut rows = select.query([settlement.row.0])?;
        let Some(row) = rows.next()? else { return Ok(()) };
        let columns = DeliveryColumns {
            sink: settlement.sink.clone(),
            key: row.get::<_, String>(0)?.into(),
            id: row.get(1)?,
            at: Timestamp(unsigned(row.get(2)?)),
            expires_at: row.get::<_, Option<i64>>(3)?.map(|at| Timestamp(unsigned(at))),
        };
        let body = large::load(connection, row.get_ref(4)?.as_bytes().unwrap_or_default())?;
        // It was read to be sent, so it can be read; if not, the history lacks it.
        if let Some(Ok(delivery)) = body.map(|body| encoding::decode_delivery(columns, &body)) {
            self.0.push((delivery, at));
        }
        Ok(())
    }

    pub(in crate::store) fn blocks(&self) -> Vec<Block> {
        let records: Vec<_> = self.0.iter().filter_map(record).collect();
        Block::pack(&records)
    }
}

fn record((delivery, at): &(NewDelivery, Timestamp)) -> Option<Record<'_>> {
    let Content::Item(Item::Publication(publication)) = &delivery.content else { return None };
    Some(Record::confirmed(delivery, delivery.sink.broker()?, publication, *at))
}
