//! Lines of a file, one after the other, each bounded.

use std::io::{self, BufRead, Read};

use super::Fault;

/// A message of MQTT may have 256 MiB, though hardly one has; Tapline's own limit is lower.
const LONGEST: u64 = 64 << 20;

pub(super) struct Lines<R> {
    input: R,
    line: Vec<u8>,
    number: u64,
    bytes: u64,
    /// The last line is to be given once more.
    again: bool,
}

/// A line's number, from 1, and its bytes.
type Numbered<'a> = (u64, Result<&'a [u8], Fault>);

impl<R: BufRead> Lines<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, line: Vec::new(), number: 0, bytes: 0, again: false }
    }

    /// How many bytes were read.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Gives the last line once more.
    pub(super) fn back(&mut self) {
        self.again = true;
    }

    /// The next line that is not blank.
    pub(super) fn next(&mut self) -> io::Result<Option<Numbered<'_>>> {
        if !std::mem::take(&mut self.again) {
            loop {
                self.line.clear();
                let read = self.read()?;
                if read == 0 {
                    return Ok(None);
                }
                self.number += 1;
                if read > LONGEST {
                    let what = format!("the line is longer than {LONGEST} bytes");
                    let remedy = "leave it out";
                    return Ok(Some((self.number, Err(Fault { line: self.number, what, remedy }))));
                }
                if !self.line.trim_ascii().is_empty() {
                    break;
                }
            }
        }
        Ok(Some((self.number, Ok(self.line.trim_ascii()))))
    }

    /// Reads one line; of one that is too long, what is beyond the limit is skipped.
    fn read(&mut self) -> io::Result<u64> {
        let mut total = 0;
        loop {
            let mut part = (&mut self.input).take(LONGEST + 1);
            let read = part.read_until(b'\n', &mut self.line)? as u64;
            total += read;
            self.bytes += read;
            if read == 0 || self.line.last() == Some(&b'\n') {
                return Ok(total);
            }
            if total > LONGEST {
                self.line.clear();
            }
        }
    }
}
