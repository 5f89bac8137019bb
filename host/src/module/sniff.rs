//! What a file is that is no WebAssembly module, in words for who put it there.

/// Bytes of a text that are shown.
const SHOWN: usize = 40;

/// How files begin that are found in place of modules.
const KNOWN: &[(&[u8], &str)] = &[
    (b"\x7fELF", "a program or library for Linux (ELF)"),
    (b"MZ", "a program or library for Windows"),
    (b"\xcf\xfa\xed\xfe", "a program or library for macOS"),
    (b"\xfe\xed\xfa\xcf", "a program or library for macOS"),
    (b"!<arch>\n", "a static library (ar)"),
    (b"\x1f\x8b", "compressed with gzip"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd"),
    (b"\xfd7zXZ\0", "compressed with xz"),
    (b"BZh", "compressed with bzip2"),
    (b"\x89PNG", "a picture (PNG)"),
    (b"%PDF", "a PDF"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"version https://git-lfs", "a pointer of Git LFS in place of the file"),
    (b"tapline-module-", "a compiled module out of Tapline's cache"),
];

/// What bytes that do not begin as a module are.
pub(super) fn what_it_is(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "the file is empty".to_owned();
    }
    if let Some((_, what)) = KNOWN.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        return format!("the file is {what}");
    }
    if bytes.iter().take(4096).all(|byte| *byte == 0) {
        return "the file holds nothing but zeros".to_owned();
    }
    if b"\0asm".starts_with(&bytes[..bytes.len().min(4)]) || bytes.starts_with(b"\0asm") {
        return match bytes.get(4..8) {
            None => format!("the file is cut off after {} bytes", bytes.len()),
            Some(version) => format!("it is of an unknown version of WebAssembly ({version:02x?})"),
        };
    }
    let start = &bytes[..bytes.len().min(4096)];
    let start = match std::str::from_utf8(start) {
        Ok(text) => Some(text),
        // Cut within a character.
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&start[..error.valid_up_to()]).ok()
        }
        Err(_) => None,
    };
    match start.filter(|text| !text.contains(|c: char| c.is_control() && !c.is_whitespace())) {
        Some(text) => described(text.trim_start()),
        None => format!("it begins with the bytes {:02x?}", &bytes[..bytes.len().min(8)]),
    }
}

fn described(text: &str) -> String {
    let lower = text.get(..20).unwrap_or(text).to_ascii_lowercase();
    if lower.starts_with("<!doctype html") || lower.starts_with("<html") {
        return "the file is a web page; was a download refused?".to_owned();
    }
    if lower.starts_with("(module") || lower.starts_with("(component") {
        return "the file is WebAssembly as text; `wasm-tools parse` makes a module of it"
            .to_owned();
    }
    let line = text.lines().next().unwrap_or("");
    let shown: String = line.chars().take(SHOWN).collect();
    let cut = if shown.len() < text.trim_end().len() { "…" } else { "" };
    format!("the file is text: `{}{cut}`", shown.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_stands_in_place_of_a_module() {
        for (bytes, expected) in [
            (&b""[..], "the file is empty"),
            (b"\x7fELF\x02\x01\x01", "the file is a program or library for Linux (ELF)"),
            (b"\x1f\x8b\x08", "the file is compressed with gzip"),
            (b"PK\x03\x04...", "the file is a zip archive"),
            (b"\0as", "the file is cut off after 3 bytes"),
            (b"\0asm\x01", "the file is cut off after 5 bytes"),
            (b"\0asm\x07\0\0\0", "it is of an unknown version of WebAssembly ([07, 00, 00, 00])"),
            (&[0; 64], "the file holds nothing but zeros"),
            (b"<!DOCTYPE html><p>", "the file is a web page; was a download refused?"),
            (
                b"  (module (func))",
                "the file is WebAssembly as text; `wasm-tools parse` makes a module of it",
            ),
            (b"fn main() {}\nmore", "the file is text: `fn main() {}…`"),
            ("größer".as_bytes(), "the file is text: `größer`"),
            (b"\xff\xfe\x00\x01", "it begins with the bytes [ff, fe, 00, 01]"),
        ] {
            assert_eq!(what_it_is(bytes), expected);
        }
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let text = "ü".repeat(5000);
        assert_eq!(what_it_is(text.as_bytes()), format!("the file is text: `{}…`", "ü".repeat(40)));
    }
}
