//! The physical quantities of `wit/quantities.toml`, the one source of their numbers,
//! names, units and kinds.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde::Deserialize;

use crate::message::Quantity;

/// Whether a quantity is a value now, a growing total, or yes and no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Gauge,
    Counter,
    /// 0 or 1.
    Flag,
}

/// One row of `wit/quantities.toml`.
#[derive(Clone, Debug, Deserialize)]
pub struct Entry {
    pub number: u16,
    /// With its unit, e.g. `power_w`.
    pub name: String,
    pub unit: String,
    pub kind: Kind,
    pub meaning: String,
}

#[derive(Deserialize)]
struct File {
    quantity: Vec<Entry>,
}

struct Table {
    entries: Vec<Entry>,
    by_number: HashMap<u16, usize>,
    by_name: HashMap<String, usize>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let file: File = toml::from_str(include_str!("../../wit/quantities.toml"))
        .expect("wit/quantities.toml is part of the program and tested");
    let by_number = file.quantity.iter().enumerate().map(|(i, e)| (e.number, i)).collect();
    let by_name = file.quantity.iter().enumerate().map(|(i, e)| (e.name.clone(), i)).collect();
    Table { entries: file.quantity, by_number, by_name }
});

/// All quantities, in the order of the file.
pub fn all() -> &'static [Entry] {
    &TABLE.entries
}

/// What `quantities.toml` says of a number; `None` for a module's own quantity.
pub fn entry(quantity: Quantity) -> Option<&'static Entry> {
    TABLE.by_number.get(&quantity.0).map(|&i| &TABLE.entries[i])
}

/// The quantity of this name.
pub fn by_name(name: &str) -> Option<Quantity> {
    TABLE.by_name.get(name).map(|&i| Quantity(TABLE.entries[i].number))
}

/// Whether the quantity is a flag (`online`, `output_on`).
pub fn is_flag(quantity: Quantity) -> bool {
    entry(quantity).is_some_and(|e| e.kind == Kind::Flag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_unique() {
        assert_eq!(TABLE.by_number.len(), TABLE.entries.len());
        assert_eq!(TABLE.by_name.len(), TABLE.entries.len());
        assert_eq!(by_name("power_w"), Some(Quantity(1)));
        assert!(is_flag(by_name("online").unwrap()));
    }
}
