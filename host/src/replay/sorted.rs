//! Puts lines in order, however many there are: what does not fit into memory is sorted in
//! parts on disk, by a thread of its own, and the parts are merged.
//!
//! Times that devices state may lie days behind their receipt, so no line can be given out
//! before the last one is known.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

/// Bytes of lines that are kept in memory; as many may be on their way to the disk.
const IN_MEMORY: usize = 32 << 20;
/// Bytes of each part that are read at a time while parts are merged.
const READ: usize = 64 << 10;

/// Lines with what they are ordered by.
pub(super) struct Sorted {
    limit: usize,
    part: Lines,
    /// Once there was more than memory should hold.
    spill: Option<Spill>,
    count: u64,
}

#[derive(Default)]
struct Lines {
    /// Order and line of each entry, one after the other.
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

/// The thread that brings parts to the disk, one at a time.
struct Spill {
    parts: SyncSender<Lines>,
    /// Memory of parts that are on the disk.
    used: Receiver<Lines>,
    thread: JoinHandle<io::Result<Disk>>,
}

#[derive(Clone, Copy)]
pub(super) struct Entry {
    start: usize,
    order: usize,
    end: usize,
}

struct Disk {
    file: BufWriter<File>,
    written: u64,
    /// Where each part ends.
    parts: Vec<u64>,
}

/// What failed while the lines were written.
#[derive(Debug)]
pub(super) enum WriteError {
    Scratch(io::Error),
    Output(io::Error),
}

impl Sorted {
    pub(super) fn new() -> Self {
        Self::with_limit(IN_MEMORY)
    }

    pub(super) fn with_limit(limit: usize) -> Self {
        Self { limit, part: Lines::default(), spill: None, count: 0 }
    }

    /// How many lines there are.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Adds a line: `write` puts first what it is ordered by and says where that ends. Lines of
    /// equal order stay as they came.
    pub(super) fn add(&mut self, write: impl FnOnce(&mut Vec<u8>) -> usize) -> io::Result<()> {
        let bytes = &mut self.part.bytes;
        let start = bytes.len();
        let order = write(bytes);
        self.part.entries.push(Entry { start, order, end: bytes.len() });
        self.count += 1;
        if self.part.bytes.len() >= self.limit { self.spill() } else { Ok(()) }
    }

    /// Hands what is in memory over, once the part before is on the disk.
    fn spill(&mut self) -> io::Result<()> {
        let spill = match &mut self.spill {
            Some(spill) => spill,
            empty => empty.insert(Spill::start()?),
        };
        let next = spill.used.try_recv().unwrap_or_default();
        if spill.parts.send(std::mem::replace(&mut self.part, next)).is_err() {
            // It ends early only where it failed.
            return self.spill.take().map_or(Ok(()), |spill| spill.finish().map(drop));
        }
        Ok(())
    }

    /// Writes all lines in order.
    pub(super) fn write(self, output: &mut impl Write) -> Result<(), WriteError> {
        let mut lines = self.into_order().map_err(WriteError::Scratch)?;
        while let Some((_, line)) = lines.next().map_err(WriteError::Scratch)? {
            output.write_all(line).map_err(WriteError::Output)?;
        }
        output.flush().map_err(WriteError::Output)
    }

    /// All lines in order, to be taken one by one.
    pub(super) fn into_order(mut self) -> io::Result<InOrder> {
        if self.spill.is_some() {
            self.spill()?;
        }
        let Some(spill) = self.spill.take() else {
            self.part.sort();
            let Lines { bytes, entries } = self.part;
            return Ok(InOrder::Memory { bytes, entries: entries.into_iter() });
        };
        Ok(InOrder::Disk { parts: parts(spill.finish()?)?, taken: false })
    }
}

impl Lines {
    fn sort(&mut self) {
        let bytes = &self.bytes;
        self.entries.sort_by(|a, b| bytes[a.start..a.order].cmp(&bytes[b.start..b.order]));
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
    }
}

impl Spill {
    fn start() -> io::Result<Self> {
        let file = BufWriter::with_capacity(1 << 20, tempfile::tempfile()?);
        let mut disk = Disk { file, written: 0, parts: Vec::new() };
        let (parts, part) = sync_channel::<Lines>(0);
        let (back, used) = sync_channel(1);
        let thread = Builder::new().name("spill".to_owned()).spawn(move || {
            while let Ok(mut lines) = part.recv() {
                disk.add(&mut lines)?;
                lines.clear();
                // Where its memory is not wanted any more, it is freed.
                let _unwanted = back.try_send(lines);
            }
            Ok(disk)
        })?;
        Ok(Self { parts, used, thread })
    }

    /// All parts, on the disk.
    fn finish(self) -> io::Result<Disk> {
        drop(self.parts);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Disk {
    fn add(&mut self, lines: &mut Lines) -> io::Result<()> {
        lines.sort();
        for entry in &lines.entries {
            let (order, line) = (entry.order - entry.start, entry.end - entry.order);
            for length in [order, line] {
                let length = u32::try_from(length).map_err(|_| io::ErrorKind::InvalidData)?;
                self.file.write_all(&length.to_le_bytes())?;
            }
            self.file.write_all(&lines.bytes[entry.start..entry.end])?;
            self.written += 8 + (order + line) as u64;
        }
        self.parts.push(self.written);
        Ok(())
    }
}

/// Lines in their order.
pub(super) enum InOrder {
    Memory {
        bytes: Vec<u8>,
        entries: std::vec::IntoIter<Entry>,
    },
    Disk {
        parts: BinaryHeap<Part>,
        /// The line at the top was given out.
        taken: bool,
    },
}

impl InOrder {
    /// What the next line is ordered by, and the line.
    pub(super) fn next(&mut self) -> io::Result<Option<(&[u8], &[u8])>> {
        match self {
            Self::Memory { bytes, entries } => Ok(entries
                .next()
                .map(|entry| (&bytes[entry.start..entry.order], &bytes[entry.order..entry.end]))),
            Self::Disk { parts, taken } => {
                if std::mem::replace(taken, true)
                    && let Some(mut top) = parts.peek_mut()
                    && !top.next()?
                {
                    PeekMut::pop(top);
                }
                Ok(parts.peek().map(|part| (&*part.order, &*part.line)))
            }
        }
    }
}

/// The sorted parts, each at its first line.
fn parts(disk: Disk) -> io::Result<BinaryHeap<Part>> {
    let mut file = disk.file.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.seek(SeekFrom::Start(0))?;
    let file = Arc::new(file);
    let mut heads = BinaryHeap::with_capacity(disk.parts.len());
    let mut start = 0;
    for (number, &end) in disk.parts.iter().enumerate() {
        let mut part = Part {
            number,
            bytes: io::BufReader::with_capacity(READ, Stretch { file: file.clone(), start, end }),
            order: Vec::new(),
            line: Vec::new(),
        };
        if part.next()? {
            heads.push(part);
        }
        start = end;
    }
    Ok(heads)
}

/// A stretch of the file, whose readers do not disturb each other.
struct Stretch {
    file: Arc<File>,
    start: u64,
    end: u64,
}

impl Read for Stretch {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.start).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        let read = self.file.read_at(&mut buffer[..wanted], self.start)?;
        self.start += read as u64;
        Ok(read)
    }
}

/// A sorted part, at one of its lines.
pub(super) struct Part {
    number: usize,
    bytes: io::BufReader<Stretch>,
    order: Vec<u8>,
    line: Vec<u8>,
}

impl Part {
    /// Goes on to the next line; `false`: there is none.
    fn next(&mut self) -> io::Result<bool> {
        let stretch = self.bytes.get_ref();
        if self.bytes.buffer().is_empty() && stretch.start == stretch.end {
            return Ok(false);
        }
        let mut lengths = [0; 8];
        self.bytes.read_exact(&mut lengths)?;
        let (order, line) = lengths.split_at(4);
        let length =
            |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().expect("four bytes")) as usize;
        self.order.resize(length(order), 0);
        self.line.resize(length(line), 0);
        self.bytes.read_exact(&mut self.order)?;
        self.bytes.read_exact(&mut self.line)?;
        Ok(true)
    }
}

// The heap gives out its greatest, which is to be what comes first; of equal ones that of the
// earlier part.
impl Ord for Part {
    fn cmp(&self, other: &Self) -> Ordering {
        (&other.order, other.number).cmp(&(&self.order, self.number))
    }
}

impl PartialOrd for Part {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Part {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Part {}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(limit: usize) -> String {
        let mut sorted = Sorted::with_limit(limit);
        for number in 0..500_u64 {
            // Orders that come three times each, far apart.
            let order = (number * 7919) % 167;
            let add = sorted.add(|bytes| {
                bytes.extend(order.to_be_bytes());
                let end = bytes.len();
                bytes.extend(format!("{order}:{number}\n").bytes());
                end
            });
            add.expect("scratch is writable");
        }
        assert_eq!(sorted.count(), 500);
        assert_eq!(sorted.spill.is_some(), limit < 10_000);
        let mut output = Vec::new();
        sorted.write(&mut output).expect("memory takes everything");
        String::from_utf8(output).expect("text")
    }

    #[test]
    fn lines_on_disk_come_in_the_order_of_those_in_memory() {
        let in_memory = written(usize::MAX);
        assert!(in_memory.starts_with("0:0\n0:167\n0:334\n1:"), "{in_memory}");
        assert_eq!(in_memory.lines().count(), 500);
        for limit in [1, 100, 2_000] {
            assert_eq!(written(limit), in_memory, "{limit} bytes in memory");
        }
    }
}
