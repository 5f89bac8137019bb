//! What a measurement measures, and in which unit.
//!
//! Numbers, names and units come from `wit/quantities.toml` and from nowhere else.

use std::fmt;

/// A physical quantity with its unit, by its number in `wit/quantities.toml`.
///
/// ```
/// use tapline_sdk::quantity::{self, Quantity};
///
/// assert_eq!(quantity::POWER_W.name(), Some("power_w"));
/// assert_eq!(Quantity::from_name("voltage_v"), Some(quantity::VOLTAGE_V));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Quantity(pub(crate) u16);

/// How the values of a quantity behave over time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A value now.
    Gauge,
    /// Grows until it is reset.
    Counter,
    /// 0 or 1.
    Flag,
}

/// What is known of a quantity.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Definition {
    pub quantity: Quantity,
    /// With its unit: `power_w`.
    pub name: &'static str,
    pub unit: &'static str,
    pub kind: Kind,
    pub meaning: &'static str,
}

include!(concat!(env!("OUT_DIR"), "/quantities.rs"));

impl Quantity {
    /// First number of the quantities that a module declares itself.
    pub const FIRST_OWN: u16 = 32768;

    /// A quantity that this module declares in its `QUANTITIES`.
    ///
    /// # Panics
    /// At compile time, when a constant is made with a number below [`Self::FIRST_OWN`].
    pub const fn own(number: u16) -> Self {
        assert!(number >= Self::FIRST_OWN, "own quantities start at 32768");
        Self(number)
    }

    /// The quantity of this name in `wit/quantities.toml`.
    pub fn from_name(name: &str) -> Option<Self> {
        ALL.iter().find(|known| known.name == name).map(|known| known.quantity)
    }

    /// Its number in `wit/quantities.toml`, or the module's own.
    pub const fn number(self) -> u16 {
        self.0
    }

    /// What `wit/quantities.toml` says of it; `None` for a module's own.
    pub fn definition(self) -> Option<&'static Definition> {
        let at = ALL.binary_search_by_key(&self, |known| known.quantity).ok()?;
        ALL.get(at)
    }

    /// Its name with the unit: `power_w`.
    pub fn name(self) -> Option<&'static str> {
        self.definition().map(|known| known.name)
    }
}

impl fmt::Debug for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "quantity {}", self.0),
        }
    }
}

/// A quantity that a module measures and `wit/quantities.toml` lacks.
///
/// The host joins equal names of several modules and refuses one name with two units.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OwnQuantity {
    /// Made by [`Quantity::own`].
    pub quantity: Quantity,
    /// With its unit: `spindle_load_pct`.
    pub name: &'static str,
    pub unit: &'static str,
    pub kind: Kind,
    pub meaning: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_quantity_is_found_by_number_and_by_name() {
        for known in ALL {
            assert_eq!(known.quantity.definition(), Some(known));
            assert_eq!(Quantity::from_name(known.name), Some(known.quantity));
        }
        assert_eq!(Quantity(19).definition(), None);
    }
}
