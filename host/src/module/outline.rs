//! What a file says of itself without being compiled, for files that are not taken as modules.

use wasmparser::{Parser, Payload};

use super::load::{CONTRACT, wrapped};

/// Holds no function.
const TYPES: &str = "tapline:module/types@";

/// What a component asks of its host and offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outline {
    /// Names with their versions.
    pub imports: Vec<String>,
    pub exports: Vec<String>,
}

impl Outline {
    /// Reads a component, or a core module as far as it can be made one.
    ///
    /// # Errors
    /// Why it is neither.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let component = wrapped(bytes).map_err(|error| error.to_string())?;
        let mut outline = Self::default();
        let mut depth = 0_usize;
        let said = |error: wasmparser::BinaryReaderError| error.to_string();
        for payload in Parser::new(0).parse_all(&component) {
            match payload.map_err(said)? {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(section) if depth == 0 => {
                    for import in section {
                        let name = import.map_err(said)?.name.name;
                        // What is imported from there are the contract's types, no functions.
                        if !name.starts_with(TYPES) {
                            outline.imports.push(name.to_owned());
                        }
                    }
                }
                Payload::ComponentExportSection(section) if depth == 0 => {
                    for export in section {
                        outline.exports.push(export.map_err(said)?.name.name.to_owned());
                    }
                }
                _ => {}
            }
        }
        Ok(outline)
    }

    /// The versions of the contract that it was made for: `tapline:module@0.1.0`.
    pub fn contracts(&self) -> Vec<String> {
        let package = CONTRACT.trim_end_matches('/');
        let versions = self.exports.iter().filter_map(|name| {
            let (_, version) = name.strip_prefix(CONTRACT)?.split_once('@')?;
            Some(format!("{package}@{version}"))
        });
        let mut versions: Vec<_> = versions.collect();
        versions.sort();
        versions.dedup();
        versions
    }
}
