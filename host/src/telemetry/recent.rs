//! The last log lines of the process, for whoever looks at it from elsewhere: a support archive,
//! say. Bounded in lines and bytes.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Enough for some minutes of trouble.
const LINES: usize = 4_000;
const BYTES: usize = 1 << 20;
/// A longer line is cut.
const LONGEST: usize = 8 << 10;

static RING: Mutex<Ring> = Mutex::new(Ring { lines: VecDeque::new(), bytes: 0 });

struct Ring {
    lines: VecDeque<String>,
    bytes: usize,
}

impl Ring {
    fn push(&mut self, line: &str) {
        let line = plain(line);
        self.bytes += line.len();
        self.lines.push_back(line);
        while self.lines.len() > LINES || self.bytes > BYTES {
            self.bytes -= self.lines.pop_front().map_or(0, |line| line.len());
        }
    }
}

/// The last lines, the newest last.
pub fn lines() -> Vec<String> {
    ring().lines.iter().cloned().collect()
}

fn ring() -> MutexGuard<'static, Ring> {
    RING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps each line that is written to it; the log writes whole lines.
pub(super) struct Recent;

impl Write for Recent {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let mut ring = ring();
        for line in text.lines().filter(|line| !line.is_empty()) {
            ring.push(line);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Without the colours of a terminal, and of a bounded length.
fn plain(line: &str) -> String {
    let mut plain = String::with_capacity(line.len().min(LONGEST));
    let mut characters = line.chars();
    while let Some(c) = characters.next() {
        if c == '\u{1b}' {
            // As in `ESC [ 31 m`.
            let _end = characters.find(|c| c.is_ascii_alphabetic());
            continue;
        }
        if plain.len() + c.len_utf8() > LONGEST {
            plain.push('…');
            break;
        }
        plain.push(c);
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_lines_stay_within_their_bounds() {
        let mut ring = Ring { lines: VecDeque::new(), bytes: 0 };
        for n in 0..LINES + 10 {
            ring.push(&n.to_string());
        }
        assert_eq!(ring.lines.len(), LINES);
        assert_eq!(ring.lines[0], "10");
        for _ in 0..1_000 {
            ring.push(&"x".repeat(LONGEST * 2));
        }
        assert!(ring.bytes <= BYTES && !ring.lines.is_empty());
        assert!(ring.lines.iter().all(|line| line.len() <= LONGEST + '…'.len_utf8()));
        assert_eq!(ring.bytes, ring.lines.iter().map(String::len).sum::<usize>());
    }

    #[test]
    fn colours_are_for_terminals_alone() {
        assert_eq!(plain("\u{1b}[31mERROR\u{1b}[0m disk full"), "ERROR disk full");
    }
}
