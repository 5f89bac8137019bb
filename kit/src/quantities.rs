//! The table of quantities in the words of each language's SDK.
//!
//! Numbers, names and units come from `wit/quantities.toml` and from nowhere else.

use std::fmt::Write as _;

use serde::Deserialize;

const TABLE: &str = include_str!("../../wit/quantities.toml");

#[derive(Deserialize)]
struct Table {
    quantity: Vec<Quantity>,
}

#[derive(Deserialize)]
struct Quantity {
    number: u16,
    name: String,
    unit: String,
    kind: String,
    meaning: String,
}

fn all() -> Vec<Quantity> {
    toml::from_str::<Table>(TABLE).expect("the table is part of the program").quantity
}

/// `tapline/quantities.py`.
pub(crate) fn python() -> String {
    let mut text = String::from(
        "\"\"\"What can be measured. Written by `tapline build` from Tapline's table.\"\"\"\n\n\
         NUMBERS = {\n",
    );
    let all = all();
    for Quantity { number, name, .. } in &all {
        let _ = writeln!(text, "    \"{name}\": {number},");
    }
    text.push_str(
        "}\n\n\nclass Measured:\n    \"\"\"A method for each quantity; `None` leaves it out.\"\"\"\n",
    );
    for Quantity { number, name, unit, kind, meaning } in &all {
        let (takes, unit) = said(kind, unit, "bool", "float");
        let _ = write!(
            text,
            "\n    def {name}(self, value: {takes} | None):\n        \"\"\"{meaning}{unit}.\"\"\"\n        \
             return self._set({number}, value)\n",
        );
    }
    text
}

/// `tapline/quantities.js`.
pub(crate) fn javascript() -> String {
    let mut text = String::from(
        "/** What can be measured. Written by `tapline build` from Tapline's table. */\n\n\
         export const NUMBERS = {\n",
    );
    let all = all();
    for Quantity { number, name, .. } in &all {
        let _ = writeln!(text, "  {name}: {number},");
    }
    text.push_str(
        "};\n\n/** A method for each quantity; undefined leaves it out. */\nexport class Measured {\n",
    );
    for Quantity { number, name, unit, kind, meaning } in &all {
        let (takes, unit) = said(kind, unit, "boolean", "number");
        let _ = write!(
            text,
            "  /** {meaning}{unit}. @param {{{takes} | null | undefined}} value @returns {{this}} */\n  \
             {name}(value) {{\n    return this._set({number}, value);\n  }}\n",
        );
    }
    text.push_str("}\n");
    text
}

/// What the method takes, and the unit in brackets; a flag has none.
fn said<'a>(kind: &str, unit: &str, flag: &'a str, other: &'a str) -> (&'a str, String) {
    match kind {
        "flag" => (flag, String::new()),
        _ => (other, format!(" ({unit})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_quantity_has_a_method_in_each_language() {
        let (python, javascript) = (python(), javascript());
        for Quantity { number, name, .. } in all() {
            assert!(python.contains(&format!("    def {name}(self, value: ")), "{name}");
            assert!(python.contains(&format!("self._set({number}, value)")), "{name}");
            assert!(javascript.contains(&format!("  {name}(value) {{")), "{name}");
            assert!(javascript.contains(&format!("  {name}: {number},")), "{name}");
        }
    }
}
