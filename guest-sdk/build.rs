//! Writes the quantity constants and the builder methods of `Reading` from
//! `wit/quantities.toml`, so that a quantity is named in one place only.

use std::fmt::Write as _;
use std::{env, error::Error, fs, path::Path};

use serde::Deserialize;

const SOURCE: &str = "../wit/quantities.toml";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    quantity: Vec<Quantity>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Quantity {
    number: u16,
    name: String,
    unit: String,
    kind: String,
    meaning: String,
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={SOURCE}");
    println!("cargo::rerun-if-changed=build.rs");
    let file: File = toml::from_str(&fs::read_to_string(SOURCE)?)?;
    let out = env::var("OUT_DIR")?;
    fs::write(Path::new(&out).join("quantities.rs"), constants(&file.quantity)?)?;
    fs::write(Path::new(&out).join("reading.rs"), builders(&file.quantity)?)?;
    Ok(())
}

fn constants(quantities: &[Quantity]) -> Result<String, Box<dyn Error>> {
    let mut text = String::new();
    for Quantity { number, name, unit, meaning, .. } in quantities {
        writeln!(
            text,
            "/// {meaning} ({unit}).\npub const {}: Quantity = Quantity({number});",
            name.to_uppercase()
        )?;
    }
    let mut by_number: Vec<_> = quantities.iter().collect();
    by_number.sort_by_key(|quantity| quantity.number);
    writeln!(text, "/// Every quantity of `wit/quantities.toml`, by number.")?;
    writeln!(text, "pub const ALL: &[Definition] = &[")?;
    for Quantity { number, name, unit, kind, meaning } in by_number {
        let kind = match kind.as_str() {
            "gauge" => "Gauge",
            "counter" => "Counter",
            "flag" => "Flag",
            other => return Err(format!("{SOURCE}: kind `{other}` of `{name}`").into()),
        };
        writeln!(
            text,
            "    Definition {{ quantity: Quantity({number}), name: {name:?}, unit: {unit:?}, \
             kind: Kind::{kind}, meaning: {meaning:?} }},"
        )?;
    }
    writeln!(text, "];")?;
    Ok(text)
}

fn builders(quantities: &[Quantity]) -> Result<String, Box<dyn Error>> {
    let mut text = String::from("impl Reading {\n");
    for Quantity { name, unit, kind, meaning, .. } in quantities {
        let constant = name.to_uppercase();
        if kind == "flag" {
            writeln!(
                text,
                "/// Sets: {meaning}; `None` leaves it out.\n\
                 #[must_use]\n\
                 pub fn {name}(self, value: impl Into<Option<bool>>) -> Self {{\n\
                 self.set(quantity::{constant}, value.into().map(f64::from))\n}}"
            )?;
        } else {
            writeln!(
                text,
                "/// Sets {meaning} ({unit}); `None` and what is not finite are left out.\n\
                 #[must_use]\n\
                 pub fn {name}(self, value: impl Into<Option<f64>>) -> Self {{\n\
                 self.set(quantity::{constant}, value)\n}}"
            )?;
        }
    }
    text.push_str("}\n");
    Ok(text)
}
