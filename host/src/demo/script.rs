//! What happens when, counted from the moment when Tapline is ready, and by which key a person
//! makes it happen.

use std::time::Duration;

use super::machines::ROUND;

/// Something that the demo does to Tapline or its surroundings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Act {
    /// Odoo goes away or comes back, whichever it is not.
    Odoo(Turn),
    Broker(Turn),
    /// SIGKILL, and a new process.
    Kill,
    Poison,
    /// A push with a higher, or again the usual, threshold.
    Threshold(Turn),
}

/// Which way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Turn {
    /// Away, or up for a threshold.
    There,
    Back,
    /// The other way than it is.
    Over,
}

use Act::{Broker, Kill, Odoo, Poison, Threshold};
use Turn::{Back, Over, There};

/// The first round, in tenths of a second. Odoo is away while four events come to be, see
/// `machines`. It is back early enough for the back-off of delivery, which by then waits up to
/// eight seconds, to end within what the demo promises.
const FIRST: &[(u64, Act)] = &[
    (125, Odoo(There)),
    (200, Odoo(Back)),
    (310, Poison),
    (360, Threshold(There)),
    (420, Threshold(Back)),
    (500, Kill),
];

/// Every later round: the broker goes away, too.
const LATER: &[(u64, Act)] = &[
    (125, Odoo(There)),
    (200, Odoo(Back)),
    (290, Poison),
    (340, Broker(There)),
    (390, Broker(Back)),
    (450, Threshold(There)),
    (490, Threshold(Back)),
    (530, Kill),
];

/// The script and how far it has come.
#[derive(Default, Debug)]
pub(super) struct Script {
    round: u32,
    next: usize,
}

impl Script {
    /// What is due at `now` and was not before.
    pub(super) fn due(&mut self, now: Duration) -> Option<Act> {
        let cues = if self.round == 0 { FIRST } else { LATER };
        let Some((tenths, act)) = cues.get(self.next) else {
            if now >= ROUND * (self.round + 1) {
                self.round += 1;
                self.next = 0;
                return self.due(now);
            }
            return None;
        };
        let at = ROUND * self.round + Duration::from_millis(tenths * 100);
        (now >= at).then(|| {
            self.next += 1;
            *act
        })
    }
}

/// The keys, with what the screen says about them.
pub(super) const KEYS: &[(char, &str, Option<Act>)] = &[
    ('o', "Odoo away/back", Some(Odoo(Over))),
    ('b', "broker away/back", Some(Broker(Over))),
    ('k', "kill", Some(Kill)),
    ('p', "poison", Some(Poison)),
    ('e', "threshold", Some(Threshold(Over))),
    ('q', "quit", None),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Tapline is ready this long after the start of the program, at the latest.
    const READY: u64 = 6;

    fn seconds_of(wanted: Act) -> u64 {
        let cue = FIRST.iter().find(|(_, act)| *act == wanted).unwrap();
        cue.0.div_ceil(10)
    }

    #[test]
    fn the_first_round_keeps_what_the_demo_promises() {
        // Four events wait 3.5 s after Odoo is gone; delivery comes back within eight seconds.
        assert!(READY + seconds_of(Odoo(There)) + 4 <= 25);
        assert!(READY + seconds_of(Odoo(Back)) + 8 <= 35);
        assert!(READY + seconds_of(Poison) + 2 <= 45);
    }

    #[test]
    fn each_cue_comes_once_and_in_order_and_rounds_repeat() {
        for cues in [FIRST, LATER] {
            assert!(cues.windows(2).all(|pair| pair[0].0 < pair[1].0));
            assert!(cues.iter().all(|(tenths, _)| *tenths < ROUND.as_secs() * 10));
        }
        let mut script = Script::default();
        let mut acts = Vec::new();
        for second in 0..ROUND.as_secs() * 3 {
            while let Some(act) = script.due(Duration::from_secs(second)) {
                acts.push(act);
            }
        }
        assert_eq!(acts.len(), FIRST.len() + 2 * LATER.len());
        assert_eq!(acts.first(), Some(&Odoo(There)));
    }
}
