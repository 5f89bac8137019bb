//! Text in files that has a form of its own: names, durations, sizes.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use super::formats;

/// The name of a broker, endpoint, pipeline, stage or module.
///
/// It becomes part of topics, file names and ids, so nothing needs quoting in any of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(transparent)]
pub(super) struct Name(pub(super) String);

/// The file of a module below `modules/`: `"shelly-next.wasm"`. A bare name means the same.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct ModuleFile(pub(super) String);

/// A duration with its unit: `"20s"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct DurationText(pub(super) String);

/// A size in bytes with its unit: `"64 MiB"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct SizeText(pub(super) String);

/// A topic filter, or `@name` of `[topics]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct FilterText(pub(super) String);

/// What a stage takes: `reading:power_w`.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct TakeText(pub(super) String);

pub(super) const NAME_REMEDY: &str =
    "use letters, digits, `-` and `_`, beginning with a letter or digit";
pub(super) const DURATION_REMEDY: &str =
    "write a number and a unit in quotes: \"500ms\", \"20s\", \"5m\", \"2h\" or \"30d\"";
pub(super) const SIZE_REMEDY: &str =
    "write a number and a unit in quotes: \"4 KiB\", \"64 MiB\" or \"8 GiB\"";

const MODULE_FILE_REMEDY: &str =
    "write the name of a file of modules/, such as \"shelly-next.wasm\"";

impl ModuleFile {
    /// The module's name: its file's without the ending.
    pub(super) fn name(&self) -> &str {
        self.0.strip_suffix(".wasm").unwrap_or(&self.0)
    }
}

impl DurationText {
    pub(super) fn parse(&self) -> Option<Duration> {
        duration(&self.0)
    }
}

impl SizeText {
    pub(super) fn parse(&self) -> Option<u64> {
        size(&self.0)
    }
}

/// A time span as files write it: `20s`, `2h`.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    humantime::parse_duration(text).ok()
}

pub(super) fn size(text: &str) -> Option<u64> {
    // A bare number would be bytes, which nobody means.
    let has_unit = text.ends_with(|c: char| c.is_ascii_alphabetic());
    text.parse::<bytesize::ByteSize>().ok().filter(|_| has_unit).map(|size| size.as_u64())
}

impl JsonSchema for Name {
    fn schema_name() -> Cow<'static, str> {
        "name".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "title": "name",
            "pattern": "^[A-Za-z0-9][A-Za-z0-9_-]*$",
            "maxLength": 64,
            "x-remedy": NAME_REMEDY,
        })
    }
}

impl JsonSchema for ModuleFile {
    fn schema_name() -> Cow<'static, str> {
        "module file".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "title": "module file",
            "pattern": "^[A-Za-z0-9][A-Za-z0-9_-]*([.]wasm)?$",
            "maxLength": 69,
            "examples": ["shelly-next.wasm"],
            "x-remedy": MODULE_FILE_REMEDY,
        })
    }
}

impl JsonSchema for DurationText {
    fn schema_name() -> Cow<'static, str> {
        "duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "title": "duration",
            "format": formats::DURATION,
            "examples": ["20s"],
            "x-remedy": DURATION_REMEDY,
        })
    }
}

impl JsonSchema for SizeText {
    fn schema_name() -> Cow<'static, str> {
        "size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "title": "size",
            "format": formats::SIZE,
            "examples": ["64 MiB"],
            "x-remedy": SIZE_REMEDY,
        })
    }
}

impl JsonSchema for FilterText {
    fn schema_name() -> Cow<'static, str> {
        "topic filter".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "title": "topic filter", "format": formats::FILTER })
    }
}

impl JsonSchema for TakeText {
    fn schema_name() -> Cow<'static, str> {
        "take".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "title": "take", "format": formats::TAKE })
    }
}
