//! Refuses payloads that are not in the format that the pipeline promises, and says where
//! they go wrong.
//!
//! | `format` | accepted | code |
//! |---|---|---|
//! | `json` | one JSON text (RFC 8259) in UTF-8 | `not-json` |
//! | `plaintext` | UTF-8, so the empty payload too | `not-utf8` |
//! | `hex` | pairs of hexadecimal digits, either case | `not-hex` |
//! | `base64` | RFC 4648 section 4, padded | `not-base64` |
//!
//! White space around hex and base64 is left aside, because a payload that was typed or
//! piped ends in a line break.

use base64::DecodeError;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use tapline_sdk::prelude::*;
use tapline_sdk::serde::de::IgnoredAny;

/// What a payload is promised to be.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "tapline_sdk::serde", rename_all = "lowercase")]
#[schemars(crate = "tapline_sdk::schemars")]
pub enum Format {
    Json,
    Plaintext,
    Hex,
    Base64,
}

tapline_sdk::settings! {
    /// Settings of the payload-format validator.
    pub struct Settings {
        /// What every payload must be.
        pub format: Format = Format::Json,
    }
}

/// The validator.
pub struct PayloadFormat(Format);

impl Validator for PayloadFormat {
    type Settings = Settings;
    const NAME: &'static str = "payload-format";
    const SUMMARY: &'static str = "Refuses payloads that are not JSON, UTF-8, hex or base64";

    fn new(settings: Settings) -> Result<Self, String> {
        Ok(Self(settings.format))
    }

    fn validate(&self, message: &Message) -> Result<(), Rejection> {
        match self.0 {
            Format::Json => json(message),
            Format::Plaintext => message.text().map(drop),
            Format::Hex => hex(&message.payload),
            Format::Base64 => base64(&message.payload),
        }
    }
}

tapline_sdk::export_validator!(PayloadFormat);

/// serde_json skips over strings without looking at their bytes, so UTF-8 comes first.
fn json(message: &Message) -> Result<(), Rejection> {
    message.text().map_err(|why| Rejection::new("not-json", why.detail))?;
    message.json::<IgnoredAny>().map(drop)
}

fn hex(payload: &[u8]) -> Result<(), Rejection> {
    let (start, digits) = trimmed(payload);
    if let Some(at) = digits.iter().position(|byte| !byte.is_ascii_hexdigit()) {
        let what =
            format!("{} at offset {} is no hexadecimal digit", shown(digits[at]), start + at);
        return Err(Rejection::new("not-hex", what));
    }
    if !digits.len().is_multiple_of(2) {
        let what = format!("{} digits: the last one has no partner", digits.len());
        return Err(Rejection::new("not-hex", what));
    }
    Ok(())
}

fn base64(payload: &[u8]) -> Result<(), Rejection> {
    let (start, symbols) = trimmed(payload);
    let Err(error) = BASE64_STANDARD.decode(symbols) else {
        return Ok(());
    };
    let what = match error {
        DecodeError::InvalidByte(at, byte) => {
            format!("{} at offset {} is no base64 symbol there", shown(byte), start + at)
        }
        DecodeError::InvalidLastSymbol(at, byte) => {
            let at = start + at;
            format!("{} at offset {at}, the last symbol, says more than whole bytes", shown(byte))
        }
        DecodeError::InvalidLength(_) | DecodeError::InvalidPadding => {
            format!("{} symbols: cut off, or without the padding `=`", symbols.len())
        }
    };
    Err(Rejection::new("not-base64", what))
}

/// The payload without white space around it, and how much of it stood in front.
fn trimmed(payload: &[u8]) -> (usize, &[u8]) {
    let rest = payload.trim_ascii_start();
    (payload.len() - rest.len(), rest.trim_ascii_end())
}

/// A byte for a person: as a character where it is one.
fn shown(byte: u8) -> String {
    if byte.is_ascii_graphic() {
        format!("`{}` (0x{byte:02x})", char::from(byte))
    } else {
        format!("0x{byte:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tapline_sdk::testing::message;

    /// `expected` is empty where the payload is accepted.
    #[track_caller]
    fn check(format: Format, payload: impl AsRef<[u8]>, expected: &str) {
        let validator = PayloadFormat::new(Settings { format }).unwrap();
        let verdict = validator.validate(&message("t", payload));
        assert_eq!(verdict.err().map(|why| why.to_string()).unwrap_or_default(), expected);
    }

    #[test]
    fn json_is_told_from_what_only_looks_like_it() {
        let json = |payload: &[u8], expected| check(Format::Json, payload, expected);
        json(b" {\"apower\": 12.5, \"x\": [null, true, \"\xc3\xa4\"]}\n", "");
        json(b"0", "");
        json(b"", "not-json: EOF while parsing a value at line 1 column 0");
        json(b"{\"a\":nan}", "not-json: expected ident at line 1 column 7, near `{\\\"a\\\":nan}`");
        json(b"{\n\"a\":1,\n}", "not-json: key must be a string at line 3 column 1, near `}`");
        json(b"{} {}", "not-json: trailing characters at line 1 column 4, near `{} {}`");
        json(b"[\"\xff\"]", "not-json: byte 0xff at offset 2 is not UTF-8");
    }

    #[test]
    fn deeply_nested_json_neither_overflows_the_stack_nor_is_refused() {
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        check(Format::Json, deep, "");
    }

    #[test]
    fn plaintext_is_utf8() {
        check(Format::Plaintext, "21,5 °C", "");
        check(Format::Plaintext, "", "");
        check(Format::Plaintext, b"21\xb0C", "not-utf8: byte 0xb0 at offset 2 is not UTF-8");
        check(Format::Plaintext, b"\xe2\x82", "not-utf8: byte 0xe2 at offset 0 is not UTF-8");
    }

    #[test]
    fn hex_is_pairs_of_digits() {
        check(Format::Hex, "00fFa9\n", "");
        check(Format::Hex, "", "");
        check(Format::Hex, " 0x1f", "not-hex: `x` (0x78) at offset 2 is no hexadecimal digit");
        check(Format::Hex, b"12\xff4", "not-hex: 0xff at offset 2 is no hexadecimal digit");
        check(Format::Hex, "123", "not-hex: 3 digits: the last one has no partner");
    }

    #[test]
    fn base64_is_the_standard_alphabet_with_padding() {
        let base64 = |payload, expected| check(Format::Base64, payload, expected);
        base64("aGVsbG8=\n", "");
        base64("", "");
        base64("aGV-bG8=", "not-base64: `-` (0x2d) at offset 3 is no base64 symbol there");
        base64(" aG=sbG8=", "not-base64: `=` (0x3d) at offset 3 is no base64 symbol there");
        base64("aGVsbG8", "not-base64: 7 symbols: cut off, or without the padding `=`");
        base64("aGVsb", "not-base64: 5 symbols: cut off, or without the padding `=`");
        base64(
            "aGVsbG9=",
            "not-base64: `9` (0x39) at offset 6, the last symbol, says more than whole bytes",
        );
    }
}
