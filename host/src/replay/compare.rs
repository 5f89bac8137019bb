//! Compares what two versions of a pipeline make of one input, device by device.
//!
//! Both sides are in the order of `grouped`, so this walks along them and holds two lines of
//! each. What stands at the same place is compared. What a detector said at another time than
//! before is taken for the same that has moved, if nothing nearer stands between; so a session
//! that now ends later is one change and not two. Invariant: every line counts once.

use std::cmp::Ordering;
use std::io;

use super::ReplayError;
use super::grouped::{Group, group_length, time};
use super::run::Summary;
use super::sorted::InOrder;

/// How far an event may have moved to be the same, in ms.
pub(super) const NEAR: u64 = 600_000;

/// How many lines of a group differ, and how many do not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub same: u64,
    pub gone: u64,
    pub new: u64,
    pub changed: u64,
}

/// One difference: a line that is gone, one that is new, or both.
#[derive(Clone, Copy, Debug)]
pub enum Difference<'a> {
    Gone(&'a str),
    New(&'a str),
    Changed(&'a str, &'a str),
}

/// Takes differences as they are found, one group after the other.
pub trait Findings {
    /// A difference; the group is known from the first one on.
    ///
    /// # Errors
    /// If it cannot be written.
    fn difference(&mut self, group: &Group, difference: Difference<'_>) -> io::Result<()>;

    /// All differences of a group have been told; called only where there was one.
    ///
    /// # Errors
    /// If it cannot be written.
    fn group(&mut self, group: &Group, tally: Tally) -> io::Result<()>;
}

/// What the comparison of two replays came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    pub tally: Tally,
    /// Devices of which something was printed, and those among them that differ.
    pub devices: u64,
    pub differing: u64,
    pub before: Summary,
    pub after: Summary,
}

impl Tally {
    pub fn differs(self) -> bool {
        self.gone + self.new + self.changed > 0
    }

    fn add(&mut self, other: Self) {
        self.same += other.same;
        self.gone += other.gone;
        self.new += other.new;
        self.changed += other.changed;
    }
}

impl Comparison {
    /// Whether anything differs: what came out, what was filtered, what came too late.
    pub fn differs(&self) -> bool {
        self.tally.differs()
            || self.before.filtered != self.after.filtered
            || self.before.late != self.after.late
    }
}

/// One line with where it stands.
struct Entry {
    order: Vec<u8>,
    group: usize,
    line: String,
}

impl Entry {
    fn group(&self) -> &[u8] {
        &self.order[..self.group]
    }

    fn place(&self) -> &[u8] {
        &self.order[self.group..]
    }

    /// What is compared: all behind the name of the stage.
    fn said(&self) -> &str {
        self.line.split_once(",\"stage\":\"").map_or(&*self.line, |(_, rest)| {
            // Names of stages need no escapes.
            rest.split_once('"').map_or(rest, |(_, said)| said)
        })
    }
}

/// One side, with the line that comes next and the one behind it.
struct Lines {
    lines: InOrder,
    head: Option<Entry>,
    behind: Option<Entry>,
}

impl Lines {
    fn new(lines: InOrder) -> Result<Self, ReplayError> {
        let mut new = Self { lines, head: None, behind: None };
        new.advance()?;
        new.advance()?;
        Ok(new)
    }

    /// Goes on, and gives what stood at the head.
    fn advance(&mut self) -> Result<Option<Entry>, ReplayError> {
        let next = self.lines.next().map_err(ReplayError::Sort)?.map(|(order, line)| Entry {
            order: order.to_vec(),
            group: group_length(order),
            // Written by this program as JSON.
            line: String::from_utf8_lossy(line.trim_ascii_end()).into_owned(),
        });
        let head = std::mem::replace(&mut self.head, self.behind.take());
        self.behind = next;
        Ok(head)
    }

    /// The head, where it belongs to `group`.
    fn within(&self, group: &[u8]) -> Option<&Entry> {
        self.head.as_ref().filter(|entry| entry.group() == group)
    }

    /// Whether what follows the head in its group stands no later than `place`, and so is
    /// nearer to it.
    fn follows_up_to(&self, group: &[u8], place: &[u8]) -> bool {
        self.behind.as_ref().is_some_and(|next| next.group() == group && next.place() <= place)
    }
}

/// Tells `findings` every difference; the summaries are left to the caller.
pub(super) fn compare(
    before: InOrder,
    after: InOrder,
    findings: &mut dyn Findings,
) -> Result<Comparison, ReplayError> {
    let (mut before, mut after) = (Lines::new(before)?, Lines::new(after)?);
    let mut comparison = Comparison::default();
    let mut device: Option<(String, bool)> = None;
    loop {
        let heads = [before.head.as_ref(), after.head.as_ref()];
        let Some(key) = heads.into_iter().flatten().map(Entry::group).min().map(<[u8]>::to_vec)
        else {
            break;
        };
        let group = Group::of(&key);
        let tally = one(&key, &group, &mut before, &mut after, findings)?;
        comparison.tally.add(tally);
        if tally.differs() {
            findings.group(&group, tally).map_err(ReplayError::Output)?;
        }
        match &mut device {
            Some((name, differs)) if *name == group.device => *differs |= tally.differs(),
            other => {
                comparison.count(other.take());
                *other = Some((group.device, tally.differs()));
            }
        }
    }
    comparison.count(device);
    Ok(comparison)
}

impl Comparison {
    fn count(&mut self, device: Option<(String, bool)>) {
        if let Some((_, differs)) = device.filter(|(name, _)| !name.is_empty()) {
            self.devices += 1;
            self.differing += u64::from(differs);
        }
    }
}

enum Step {
    Pair,
    Gone,
    New,
}

/// Walks along one group.
fn one(
    key: &[u8],
    group: &Group,
    before: &mut Lines,
    after: &mut Lines,
    findings: &mut dyn Findings,
) -> Result<Tally, ReplayError> {
    let mut tally = Tally::default();
    loop {
        let step = match (before.within(key), after.within(key)) {
            (None, None) => return Ok(tally),
            (Some(_), None) => Step::Gone,
            (None, Some(_)) => Step::New,
            (Some(old), Some(new)) => match old.place().cmp(new.place()) {
                Ordering::Equal => Step::Pair,
                Ordering::Less if before.follows_up_to(key, new.place()) => Step::Gone,
                Ordering::Greater if after.follows_up_to(key, old.place()) => Step::New,
                _ if is_near(old, new) => Step::Pair,
                Ordering::Less => Step::Gone,
                Ordering::Greater => Step::New,
            },
        };
        let (old, new) = match step {
            Step::Pair => (before.advance()?, after.advance()?),
            Step::Gone => (before.advance()?, None),
            Step::New => (None, after.advance()?),
        };
        let difference = match (&old, &new) {
            (Some(old), Some(new)) if old.said() == new.said() => {
                tally.same += 1;
                continue;
            }
            (Some(old), Some(new)) => {
                tally.changed += 1;
                Difference::Changed(&old.line, &new.line)
            }
            (Some(old), None) => {
                tally.gone += 1;
                Difference::Gone(&old.line)
            }
            (None, Some(new)) => {
                tally.new += 1;
                Difference::New(&new.line)
            }
            (None, None) => return Ok(tally),
        };
        findings.difference(group, difference).map_err(ReplayError::Output)?;
    }
}

fn is_near(old: &Entry, new: &Entry) -> bool {
    match (time(old.place()), time(new.place())) {
        (Some(old), Some(new)) => old.0.abs_diff(new.0) <= NEAR,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::sorted::Sorted;
    use super::*;

    /// An event `e` of a device, at a minute.
    fn side(events: &[(&str, u64, &str)]) -> InOrder {
        let mut sorted = Sorted::with_limit(100);
        for (device, minute, what) in events {
            let add = sorted.add(|bytes| {
                bytes.extend(device.as_bytes());
                bytes.extend([0, 1]);
                bytes.extend(b"e\0\0s\0\x01");
                bytes.extend((minute * 60_000).to_be_bytes());
                let end = bytes.len();
                let line =
                    format!("{{\"item\":\"event\",\"stage\":\"s\",\"at\":{minute},{what}}}\n");
                bytes.extend(line.as_bytes());
                end
            });
            add.expect("scratch is writable");
        }
        sorted.into_order().expect("scratch is readable")
    }

    #[derive(Default)]
    struct Told(Vec<String>);

    impl Findings for Told {
        fn difference(&mut self, group: &Group, difference: Difference<'_>) -> io::Result<()> {
            let at = |line: &str| line.split("\"at\":").nth(1).unwrap_or("").replace('}', "");
            let words = match difference {
                Difference::Gone(old) => format!("-{}", at(old)),
                Difference::New(new) => format!("+{}", at(new)),
                Difference::Changed(old, new) => format!("{}~{}", at(old), at(new)),
            };
            self.0.push(format!("{} {words}", group.device));
            Ok(())
        }

        fn group(&mut self, group: &Group, tally: Tally) -> io::Result<()> {
            let Tally { same, gone, new, changed } = tally;
            self.0.push(format!("{} {same}={gone}-{new}+{changed}~", group.device));
            Ok(())
        }
    }

    fn check(before: &[(&str, u64, &str)], after: &[(&str, u64, &str)], expected: &[&str]) {
        let mut told = Told::default();
        let comparison = compare(side(before), side(after), &mut told).unwrap();
        assert_eq!(told.0, expected);
        assert_eq!(comparison.differs(), !expected.is_empty());
        let Tally { same, gone, new, changed } = comparison.tally;
        assert_eq!(same + gone + changed, before.len() as u64, "every line counts once");
        assert_eq!(same + new + changed, after.len() as u64, "every line counts once");
    }

    #[test]
    fn equal_sides_do_not_differ() {
        let events = [("a", 1, "1"), ("a", 2, "2"), ("b", 1, "1")];
        check(&events, &events, &[]);
        check(&[], &[], &[]);
    }

    #[test]
    fn what_is_gone_new_or_changed_is_told_device_by_device() {
        let before = [("a", 1, "1"), ("a", 20, "2"), ("b", 1, "1"), ("c", 1, "1")];
        let after = [("a", 1, "1"), ("a", 20, "3"), ("b", 90, "1"), ("d", 1, "1")];
        let expected = [
            "a 20,2~20,3",
            "a 1=0-0+1~",
            "b -1,1",
            "b +90,1",
            "b 0=1-1+0~",
            "c -1,1",
            "c 0=1-0+0~",
            "d +1,1",
            "d 0=0-1+0~",
        ];
        check(&before, &after, &expected);
    }

    #[test]
    fn what_moved_a_little_is_one_change_unless_something_nearer_stands_between() {
        check(&[("a", 1, "x")], &[("a", 4, "x")], &["a 1,x~4,x", "a 0=0-0+1~"]);
        check(&[("a", 4, "x")], &[("a", 1, "x")], &["a 4,x~1,x", "a 0=0-0+1~"]);
        // The first is gone, and the second is the same as ever.
        check(&[("a", 1, "x"), ("a", 4, "x")], &[("a", 4, "x")], &["a -1,x", "a 1=1-0+0~"]);
        check(&[("a", 4, "x")], &[("a", 1, "x"), ("a", 4, "x")], &["a +1,x", "a 1=0-1+0~"]);
        check(&[("a", 1, "x")], &[("a", 12, "x")], &["a -1,x", "a +12,x", "a 0=1-1+0~"]);
    }
}
