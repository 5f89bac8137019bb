//! Samples inside a module's file: the custom section `tapline:samples`.

use std::borrow::Cow;

use wasm_encoder::{CustomSection, Section as _};
use wasmparser::{Parser, Payload};

use super::SampleError;

const NAME: &str = "tapline:samples";

/// The module with these samples, as [`Folder::text`](super::Folder::text) gives them, after
/// everything else and in place of earlier ones. Without samples there is no section.
///
/// # Errors
/// If this is no WebAssembly.
pub fn attach(module: &[u8], samples: &str) -> Result<Vec<u8>, SampleError> {
    let mut bytes = Vec::with_capacity(module.len() + samples.len() + NAME.len() + 16);
    let mut from = 0;
    for section in sections(module) {
        let (start, end, _) = section?;
        bytes.extend_from_slice(&module[from..start]);
        from = end;
    }
    bytes.extend_from_slice(&module[from..]);
    if !samples.is_empty() {
        let data = Cow::Borrowed(samples.as_bytes());
        CustomSection { name: NAME.into(), data }.append_to(&mut bytes);
    }
    Ok(bytes)
}

/// The samples that a module's file carries, if it does.
///
/// # Errors
/// If this is no WebAssembly, or they are no text.
pub fn read(module: &[u8]) -> Result<Option<String>, SampleError> {
    let mut found = None;
    for section in sections(module) {
        let (_, _, data) = section?;
        found = Some(data);
    }
    let Some(data) = found else { return Ok(None) };
    String::from_utf8(data.to_vec()).map(Some).map_err(|_| SampleError::NoText)
}

/// Start, end and data of each section of ours at the top of the file. What lies within a
/// component is another module's.
fn sections(module: &[u8]) -> impl Iterator<Item = Result<(usize, usize, &[u8]), SampleError>> {
    let mut depth = 0_usize;
    // Where the section before ended: a section begins with its number and length.
    let mut before = 8;
    Parser::new(0).parse_all(module).filter_map(move |payload| {
        let payload = match payload {
            Ok(payload) => payload,
            Err(error) => return Some(Err(SampleError::Module { what: error.to_string() })),
        };
        match &payload {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            _ => {}
        }
        let mut found = None;
        if let (0, Payload::CustomSection(section)) = (depth, &payload)
            && section.name() == NAME
        {
            found = Some(Ok((before, section.range().end, section.data())));
        }
        if let Some((_, range)) = payload.as_section() {
            before = range.end;
        }
        found
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A component that holds a core module, which has a section of ours of its own.
    fn component() -> Vec<u8> {
        let mut core = wasm_encoder::Module::new();
        core.section(&CustomSection { name: NAME.into(), data: b"inner".as_slice().into() });
        let mut component = wasm_encoder::Component::new();
        component.section(&wasm_encoder::ModuleSection(&core));
        component.section(&CustomSection { name: "other".into(), data: b"o".as_slice().into() });
        component.finish()
    }

    #[test]
    fn samples_come_back_as_they_were_attached() {
        for module in [component(), wasm_encoder::Module::new().finish()] {
            assert_eq!(read(&module).unwrap(), None);
            let with = attach(&module, "{\"topic\":\"t\"}\n").unwrap();
            assert_eq!(read(&with).unwrap().as_deref(), Some("{\"topic\":\"t\"}\n"));
            assert!(with.starts_with(&module));
        }
    }

    #[test]
    fn attaching_again_replaces_and_gives_the_same_bytes() {
        let module = component();
        let once = attach(&module, "one\n").unwrap();
        assert_eq!(attach(&once, "one\n").unwrap(), once);
        let long = "x".repeat(70_000);
        let other = attach(&once, &long).unwrap();
        assert_eq!(read(&other).unwrap(), Some(long));
        assert_eq!(attach(&other, "one\n").unwrap(), once);
        assert_eq!(attach(&other, "").unwrap(), module);
    }

    #[test]
    fn what_is_no_module_is_refused() {
        for bytes in [b"".as_slice(), b"<!doctype html>", &component()[..20]] {
            assert!(matches!(read(bytes), Err(SampleError::Module { .. })), "{bytes:?}");
            assert!(attach(bytes, "x\n").is_err());
        }
    }

    #[test]
    fn samples_that_are_no_text_are_refused() {
        let mut module = component();
        let data = [0xff].as_slice().into();
        CustomSection { name: NAME.into(), data }.append_to(&mut module);
        assert!(matches!(read(&module), Err(SampleError::NoText)));
    }
}
