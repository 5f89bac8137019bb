//! Looking messages up.

use rusqlite::named_params;
use uuid::Uuid;

use super::{Direction, PLACE_BITS, wire};
use crate::config::topic::Pattern;
use crate::message::{DeviceId, MessageId, Properties, Timestamp};
use crate::store::apply::{signed, unsigned};
use crate::store::{Store, StoreError};

/// Blocks and bytes that one request looks at: the answer then says where to go on.
const LOOKED_AT: usize = 20_000;
const READ_BYTES: usize = 64 << 20;

/// Payload bytes of one answer.
const ANSWERED_BYTES: usize = 8 << 20;

/// By how much the wall clock may have gone back, so that times of blocks are out of order.
const DISORDER_MS: u64 = 24 * 3600 * 1000;

/// A message of the history under the number that people call it by.
#[derive(Clone, PartialEq, Debug)]
pub struct Entry {
    pub number: u64,
    pub direction: Direction,
    pub at: Timestamp,
    pub broker: String,
    pub pipeline: String,
    pub subscription: Option<String>,
    pub topic: String,
    pub device: Option<DeviceId>,
    pub payload: Vec<u8>,
    pub qos: u8,
    pub retain: bool,
    pub properties: Properties,
    pub message: Option<MessageId>,
    pub delivery: Option<Uuid>,
    pub fate: String,
}

/// Which messages; what is absent matches every one.
#[derive(Clone, Default, Debug)]
pub struct Filter {
    /// A topic, or a filter with wildcards.
    pub topic: Option<Pattern>,
    pub device: Option<String>,
    pub broker: Option<String>,
    pub direction: Option<Direction>,
    /// The id of a message, in words: it, and what was sent in consequence.
    pub message: Option<String>,
    pub from: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

impl Filter {
    fn matches(&self, entry: &Entry) -> bool {
        let is = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|w| w == is);
        self.topic.as_ref().is_none_or(|pattern| pattern.matches(&entry.topic))
            && is(&self.device, entry.device.as_ref().map_or("", |device| device.as_str()))
            && is(&self.broker, &entry.broker)
            && self.direction.is_none_or(|direction| direction == entry.direction)
            && self.from.is_none_or(|from| entry.at >= from)
            && self.until.is_none_or(|until| entry.at <= until)
            && self.message.as_ref().is_none_or(|id| {
                entry.message.as_ref().is_some_and(|message| message.to_string() == *id)
            })
    }
}

/// Some of the messages that match, the newest first.
#[derive(Clone, PartialEq, Debug)]
pub struct Page {
    pub entries: Vec<Entry>,
    /// Where to go on; `None` behind the oldest. A page may be empty and not the last.
    pub next: Option<u64>,
}

impl Store {
    /// At most `limit` messages that match, the newest first, older than number `before`.
    pub fn history(
        &self,
        filter: &Filter,
        limit: usize,
        before: Option<u64>,
    ) -> Result<Page, StoreError> {
        self.read(|connection| {
            let mut select = connection.prepare_cached(
                "SELECT n, from_at, until_at, body FROM history WHERE n <= :last ORDER BY n DESC",
            )?;
            let last = before.map_or(i64::MAX, |before| signed(before >> PLACE_BITS));
            let mut rows = select.query(named_params! { ":last": last })?;
            let mut page = Page { entries: Vec::new(), next: None };
            let (mut looked_at, mut read, mut answered) = (0, 0, 0);
            while let Some(row) = rows.next()? {
                let block = unsigned(row.get(0)?) << PLACE_BITS;
                let (from, until) =
                    (Timestamp(unsigned(row.get(1)?)), Timestamp(unsigned(row.get(2)?)));
                if filter.from.is_some_and(|from| until.plus_ms(DISORDER_MS) < from) {
                    return Ok(page);
                }
                if looked_at == LOOKED_AT || read >= READ_BYTES {
                    // Every entry of this block is still to come.
                    page.next = Some(block + (1 << PLACE_BITS));
                    return Ok(page);
                }
                looked_at += 1;
                let late = filter.until.is_some_and(|wanted| from > wanted);
                if late || filter.from.is_some_and(|wanted| until < wanted) {
                    continue;
                }
                let body = row.get_ref(3)?.as_bytes().unwrap_or_default();
                read += body.len();
                let entries = match wire::decode(body) {
                    Ok(entries) => entries,
                    Err(error) => {
                        let block = block >> PLACE_BITS;
                        tracing::warn!(event = "history_unreadable", block, error = %error);
                        continue;
                    }
                };
                for (place, mut entry) in entries.into_iter().enumerate().rev() {
                    entry.number = block | place as u64;
                    if before.is_some_and(|before| entry.number >= before)
                        || !filter.matches(&entry)
                    {
                        continue;
                    }
                    answered += entry.payload.len();
                    let number = entry.number;
                    page.entries.push(entry);
                    if page.entries.len() >= limit || answered >= ANSWERED_BYTES {
                        page.next = Some(number);
                        return Ok(page);
                    }
                }
            }
            Ok(page)
        })
    }

    /// Claims that messages are to be written into the history.
    pub fn keeps_history(&self) -> bool {
        self.inner.shared.room.keeps_history()
    }
}
