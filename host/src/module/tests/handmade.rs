//! Modules written by hand: what no SDK would build, and no compiler.

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};

use super::worlds::contract;

/// A parser's core module whose parts can be replaced by worse ones.
pub(super) struct Handmade {
    pub(super) name: Vec<u8>,
    pub(super) schema: Vec<u8>,
    /// What the description says the schema's length is, where that is a lie.
    pub(super) schema_length: Option<u32>,
    /// Number of own quantities; each is the same entry.
    pub(super) quantities: u32,
    /// Pages of 64 KiB.
    pub(super) memory: u32,
    /// Further fields of the module, such as `(table 1000000 funcref)`.
    pub(super) fields: String,
    /// Instructions before the description is given.
    pub(super) describe: String,
    /// Body of `parse`, which leaves a pointer to its result.
    pub(super) parse: String,
}

impl Default for Handmade {
    fn default() -> Self {
        Self {
            name: b"handmade".into(),
            schema: br#"{"type":"object"}"#.into(),
            schema_length: None,
            quantities: 0,
            memory: 4,
            fields: String::new(),
            describe: String::new(),
            parse: "unreachable".into(),
        }
    }
}

/// Where the description lies, its texts, and one own quantity. The rest is the heap.
const DESCRIPTION: usize = 64;
const TEXTS: usize = 1024;
const HEAP: usize = 128 * 1024;

impl Handmade {
    pub(super) fn build(&self) -> Vec<u8> {
        let mut texts = Vec::new();
        let mut text = |bytes: &[u8]| {
            let at = TEXTS + texts.len();
            texts.extend_from_slice(bytes);
            (at as u32, bytes.len() as u32)
        };
        let (name, version, summary) =
            (text(&self.name), text(b"1.0.0"), text(b"Attacks the host"));
        let (schema, length) = text(&self.schema);
        let own = text(b"own_w");
        let gauge = text(b"gauge");
        while texts.len() % 4 != 0 {
            texts.push(0);
        }
        let mut words = vec![name.0, name.1, version.0, version.1, summary.0, summary.1];
        words.extend([schema, self.schema_length.unwrap_or(length)]);
        let quantity_at = (TEXTS + texts.len()) as u32;
        words.extend([quantity_at, self.quantities, 1]);
        // number, name, unit, kind, meaning
        let quantity = [32_768, own.0, own.1, own.0, own.1, gauge.0, gauge.1, own.0, own.1];
        texts.extend(quantity.iter().flat_map(|word: &u32| word.to_le_bytes()));
        assert!(TEXTS + texts.len() < HEAP, "the texts reach into the heap");
        let description: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let wat = format!(
            r#"(module
                (memory (export "memory") {memory})
                (global $heap (mut i32) (i32.const {HEAP}))
                {fields}
                (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (local i32)
                    (local.set 4 (i32.and (i32.add (global.get $heap) (i32.const 15)) (i32.const -16)))
                    (global.set $heap (i32.add (local.get 4) (local.get 3)))
                    (local.get 4))
                (func (export "tapline:module/module@0.1.0#describe") (result i32)
                    {describe}
                    (i32.const {DESCRIPTION}))
                (func (export "tapline:module/module@0.1.0#configure") (param i32 i32 i32) (result i32)
                    (i32.const 0))
                (func (export "tapline:module/module@0.1.0#forget") (param i32))
                (func (export "tapline:module/parser@0.1.0#parse") (param i32 i32) (result i32)
                    {parse})
                (func (export "tapline:module/parser@0.1.0#companions-of")
                    (param i32 i32 i32) (result i32) unreachable)
                (data (i32.const {DESCRIPTION}) "{description}")
                (data (i32.const {TEXTS}) "{texts}"))"#,
            memory = self.memory,
            fields = self.fields,
            describe = self.describe,
            parse = self.parse,
            description = escaped(&description),
            texts = escaped(&texts),
        );
        let mut core = wat::parse_str(&wat).unwrap_or_else(|error| panic!("{error}\n{wat}"));
        let mut resolve = contract();
        let world = "package test:it;\nworld it { import tapline:host/log@0.1.0; \
                     export tapline:module/module@0.1.0; export tapline:module/parser@0.1.0; }";
        let package = resolve.push_str("it.wit", world).unwrap();
        let world = resolve.select_world(&[package], Some("it")).unwrap();
        embed_component_metadata(&mut core, &resolve, world, StringEncoding::UTF8).unwrap();
        ComponentEncoder::default().module(&core).unwrap().encode().unwrap()
    }
}

fn escaped(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\{byte:02x}")).collect()
}
