//! Tells one bad delivery from a sink that refuses everything.
//!
//! Twenty refusals in a row over several devices pause the sink. Until a success shows that
//! the others are fine, or until there is nothing else to try, refused deliveries are held:
//! their rows stay in the outbox, and if it comes to the pause, there they remain, so that a
//! wrong setting does not fill the dead letters with a whole stream.

use std::collections::VecDeque;

use crate::store::{RowId, Settlement};

/// Refusals in a row that pause a sink.
const MANY: usize = 20;

/// What to do about a refusal.
#[derive(PartialEq, Debug)]
pub(super) enum Refused {
    /// It is held. What was held too long goes to the dead letters.
    Held(Option<Settlement>),
    /// Too many over several devices: everything held stays in the outbox.
    TooMany,
}

#[derive(Default)]
pub(super) struct Refusals {
    /// Whose deliveries were refused, one for each refusal in a row.
    row: VecDeque<String>,
    held: VecDeque<Settlement>,
}

impl Refusals {
    /// One more refusal of a delivery of `device`.
    pub(super) fn refuse(&mut self, device: &str, settlement: Settlement) -> Refused {
        self.row.push_back(device.to_owned());
        if self.row.len() > MANY {
            self.row.pop_front();
        }
        self.held.push_back(settlement);
        if self.row.len() == MANY && self.row.iter().any(|other| other != device) {
            self.row.clear();
            self.held.clear();
            return Refused::TooMany;
        }
        let spare = if self.held.len() > MANY { self.held.pop_front() } else { None };
        Refused::Held(spare)
    }

    /// Something was accepted: what is held was bad by itself.
    pub(super) fn accept(&mut self) -> Vec<Settlement> {
        self.row.clear();
        self.held.drain(..).collect()
    }

    /// There is nothing else to try at the moment: what is held need not wait for a verdict
    /// on the others. The row of refusals goes on.
    pub(super) fn rest(&mut self) -> Vec<Settlement> {
        self.held.drain(..).collect()
    }

    /// Claims that `row` is held.
    pub(super) fn holds(&self, row: RowId) -> bool {
        self.held.iter().any(|settlement| settlement.row == row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Timestamp;
    use crate::store::{Fate, SinkId};

    fn settlement(row: i64) -> Settlement {
        let sink = SinkId::new("p", "s");
        Settlement { sink, row: RowId(row), fate: Fate::Delivered { at: Timestamp(0) } }
    }

    #[test]
    fn twenty_in_a_row_over_several_devices_are_too_many() {
        let mut refusals = Refusals::default();
        for row in 1..20 {
            let device = if row % 2 == 0 { "a" } else { "b" };
            assert_eq!(refusals.refuse(device, settlement(row)), Refused::Held(None));
        }
        assert_eq!(refusals.refuse("b", settlement(20)), Refused::TooMany);
        assert!(refusals.rest().is_empty(), "the twenty stay in the outbox");
    }

    #[test]
    fn one_device_alone_never_pauses_the_sink() {
        let mut refusals = Refusals::default();
        for row in 1..=20 {
            assert_eq!(refusals.refuse("a", settlement(row)), Refused::Held(None));
        }
        assert_eq!(refusals.refuse("a", settlement(21)), Refused::Held(Some(settlement(1))));
        assert!(refusals.holds(RowId(2)) && !refusals.holds(RowId(1)));
        assert_eq!(refusals.refuse("b", settlement(22)), Refused::TooMany);
    }

    #[test]
    fn a_success_between_ends_the_row() {
        let mut refusals = Refusals::default();
        for row in 1..20 {
            refusals.refuse(if row == 1 { "a" } else { "b" }, settlement(row));
        }
        assert_eq!(refusals.accept().len(), 19);
        assert_eq!(refusals.refuse("a", settlement(20)), Refused::Held(None));
        assert_eq!(refusals.rest(), [settlement(20)]);
    }
}
