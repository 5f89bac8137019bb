//! What a module says of itself, checked.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::Value;

use super::bindings::exports::tapline::module::module as wit;
use super::bounds;
use super::error::LoadError;
use super::log::truncate;
use crate::quantity;

/// The first number of a module's own quantities.
const OWN_FROM: u16 = 32_768;

const NAME_LENGTH: usize = 64;
/// Quantities of a module's own.
const MAX_QUANTITIES: usize = 1_000;
const SUMMARY_LENGTH: usize = 500;

/// A quantity that a module measures and `wit/quantities.toml` lacks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwnQuantity {
    /// 32768 or more; means something in this module only.
    pub number: u16,
    /// With its unit, e.g. `spindle_load_pct`.
    pub name: String,
    pub unit: String,
    pub kind: quantity::Kind,
    pub meaning: String,
}

/// What is wrong with a value in a module's settings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SettingsError {
    /// JSON pointer to the value; empty for the whole.
    pub pointer: String,
    /// One clause for a person.
    pub what: String,
}

pub(super) struct Description {
    pub(super) name: Arc<str>,
    pub(super) version: String,
    pub(super) summary: String,
    pub(super) settings_schema: Value,
    pub(super) settings: jsonschema::Validator,
    pub(super) quantities: Vec<OwnQuantity>,
    pub(super) state_version: u32,
}

impl Description {
    pub(super) fn check(given: wit::Description) -> Result<Self, LoadError> {
        checked(given).map_err(|mut what| {
            truncate(&mut what, SUMMARY_LENGTH);
            LoadError::Description { what }
        })
    }

    /// Everything that the schema has against these settings.
    pub(super) fn check_settings(&self, settings: &Value) -> Vec<SettingsError> {
        self.settings
            .iter_errors(settings)
            .map(|error| {
                let mut what = error.to_string();
                truncate(&mut what, SUMMARY_LENGTH);
                SettingsError { pointer: error.instance_path().to_string(), what }
            })
            .collect()
    }
}

fn checked(given: wit::Description) -> Result<Description, String> {
    let is_name = |text: &str| {
        (1..=NAME_LENGTH).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b))
    };
    if !is_name(&given.name) {
        return Err(format!(
            "the name `{}` is not made of 1 to {NAME_LENGTH} small letters, digits, `-` and `_`",
            shown(given.name)
        ));
    }
    if !(1..=NAME_LENGTH).contains(&given.version.len()) {
        return Err(format!("the version has {} characters", given.version.len()));
    }
    if given.summary.len() > SUMMARY_LENGTH {
        return Err(format!("the summary has {} bytes", given.summary.len()));
    }
    if given.quantities.len() > MAX_QUANTITIES {
        let count = given.quantities.len();
        return Err(format!("it declares {count} quantities, more than {MAX_QUANTITIES}"));
    }
    let settings_schema = bounds::parse(&given.settings_schema)?;
    let settings = jsonschema::draft202012::options()
        .with_pattern_options(bounds::patterns())
        .build(&settings_schema)
        .map_err(|error| format!("the settings' schema is no JSON Schema: {error}"))?;
    let quantities = given.quantities.into_iter().map(own).collect::<Result<Vec<_>, _>>()?;
    let (mut numbers, mut names) = (HashSet::new(), HashSet::new());
    for own in &quantities {
        if !numbers.insert(own.number) {
            return Err(format!("two of its quantities have the number {}", own.number));
        }
        if !names.insert(&own.name) {
            return Err(format!("two of its quantities have the name `{}`", own.name));
        }
        if quantity::by_name(&own.name).is_some() {
            return Err(format!("`{}` is a quantity of `quantities.toml`", own.name));
        }
    }
    Ok(Description {
        name: given.name.into(),
        version: given.version,
        summary: given.summary,
        settings_schema,
        settings,
        quantities,
        state_version: given.state_version,
    })
}

/// A name as it is fit to be shown, however long it is.
fn shown(mut name: String) -> String {
    truncate(&mut name, NAME_LENGTH);
    name.escape_debug().to_string()
}

fn own(given: wit::OwnQuantity) -> Result<OwnQuantity, String> {
    let longest = given.name.len().max(given.unit.len());
    if longest > NAME_LENGTH || given.meaning.len() > SUMMARY_LENGTH {
        return Err(format!(
            "its quantity {} has a name or unit of {longest} bytes and a meaning of {}",
            given.number,
            given.meaning.len()
        ));
    }
    if given.number < OWN_FROM {
        return Err(format!(
            "its quantity `{}` has the number {}, and own numbers begin at {OWN_FROM}",
            given.name, given.number
        ));
    }
    let kind = match given.kind.as_str() {
        "gauge" => quantity::Kind::Gauge,
        "counter" => quantity::Kind::Counter,
        "flag" => quantity::Kind::Flag,
        other => {
            return Err(format!(
                "its quantity `{}` is a `{other}`, not a gauge, counter or flag",
                given.name
            ));
        }
    };
    Ok(OwnQuantity {
        number: given.number,
        name: given.name,
        unit: given.unit,
        kind,
        meaning: given.meaning,
    })
}
