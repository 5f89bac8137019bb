//! Where the values of a JSON text stand: serde_json keeps no positions.
//!
//! Only for texts that serde_json accepted; on anything unexpected it stops, and what it
//! found so far is what problems can point at.

use std::collections::BTreeMap;
use std::ops::Range;

use super::document::{Span, push_key};

pub(super) fn scan(text: &str, spans: &mut BTreeMap<String, Span>) {
    let mut scan = Scan { bytes: text.as_bytes(), at: 0, spans };
    scan.value(&mut String::new(), None);
}

struct Scan<'s> {
    bytes: &'s [u8],
    at: usize,
    spans: &'s mut BTreeMap<String, Span>,
}

impl Scan<'_> {
    /// Recursion is bounded: serde_json refuses more than 128 levels.
    fn value(&mut self, pointer: &mut String, key: Option<Range<usize>>) -> Option<()> {
        let start = self.peek().map(|_| self.at)?;
        match self.bytes[start] {
            b'{' => self.members(pointer)?,
            b'[' => self.elements(pointer)?,
            b'"' => {
                self.string()?;
            }
            _ => {
                let rest = &self.bytes[start..];
                let end = |b: &u8| matches!(b, b',' | b']' | b'}') || b.is_ascii_whitespace();
                self.at += rest.iter().position(end).unwrap_or(rest.len());
            }
        }
        self.spans.insert(pointer.clone(), Span { key, value: start..self.at });
        Some(())
    }

    fn members(&mut self, pointer: &mut String) -> Option<()> {
        self.at += 1;
        while self.peek()? != b'}' {
            let key = self.string()?;
            let name: String = serde_json::from_slice(&self.bytes[key.clone()]).ok()?;
            if self.peek()? != b':' {
                return None;
            }
            self.at += 1;
            let length = pointer.len();
            push_key(pointer, &name);
            self.value(pointer, Some(key))?;
            pointer.truncate(length);
            if self.peek()? == b',' {
                self.at += 1;
            }
        }
        self.at += 1;
        Some(())
    }

    fn elements(&mut self, pointer: &mut String) -> Option<()> {
        self.at += 1;
        let mut index = 0;
        while self.peek()? != b']' {
            let length = pointer.len();
            push_key(pointer, &index.to_string());
            self.value(pointer, None)?;
            pointer.truncate(length);
            index += 1;
            if self.peek()? == b',' {
                self.at += 1;
            }
        }
        self.at += 1;
        Some(())
    }

    fn string(&mut self) -> Option<Range<usize>> {
        if self.peek()? != b'"' {
            return None;
        }
        let start = self.at;
        self.at += 1;
        loop {
            match self.bytes.get(self.at)? {
                b'"' => break,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        Some(start..self.at)
    }

    fn peek(&mut self) -> Option<u8> {
        while self.bytes.get(self.at)?.is_ascii_whitespace() {
            self.at += 1;
        }
        self.bytes.get(self.at).copied()
    }
}
