//! Modules made from a world's text: their functions have the right types and trap.

use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{ManglingAndAbi, Resolve};

const LOG: &str = "import tapline:host/log@0.1.0;";

/// The contract as published.
pub(super) fn contract() -> Resolve {
    let mut resolve = Resolve::default();
    resolve.push_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../wit")).unwrap();
    resolve
}

/// A core module with metadata whose world is `package test:it; <more> world it { <body> }`.
pub(super) fn core(more: &str, body: &str) -> Vec<u8> {
    let mut resolve = contract();
    let text = format!("package test:it;\n{more}\nworld it {{ {body} }}");
    let package = resolve.push_str("it.wit", &text).unwrap();
    let world = resolve.select_world(&[package], Some("it")).unwrap();
    let mut core = dummy_module(&resolve, world, ManglingAndAbi::Standard32);
    embed_component_metadata(&mut core, &resolve, world, StringEncoding::UTF8).unwrap();
    core
}

pub(super) fn component(more: &str, body: &str) -> Vec<u8> {
    ComponentEncoder::default().module(&core(more, body)).unwrap().encode().unwrap()
}

/// A parser with further imports or exports.
pub(super) fn parser(more: &str, body: &str) -> Vec<u8> {
    let body = format!(
        "{LOG} export tapline:module/module@0.1.0; export tapline:module/parser@0.1.0; {body}"
    );
    component(more, &body)
}

/// The contract under another version, as a module of the future would have it.
pub(super) fn of_version(version: &str) -> Vec<u8> {
    changed(version, ("0.1.0", version))
}

/// A parser of a contract of another version, with a part of its text replaced.
pub(super) fn changed(version: &str, (from, to): (&str, &str)) -> Vec<u8> {
    let wit = |path: &str| {
        let text = std::fs::read_to_string(
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit").join(path),
        );
        text.unwrap().replace(from, to).replace("0.1.0", version)
    };
    of_world(&wit("deps/host/host.wit"), &wit("module.wit"), "parser-module")
}

/// A module of the contract that `tests/contract/grown` stands for.
pub(super) fn grown(world: &str) -> Vec<u8> {
    let host = include_str!("../../../../tests/contract/grown/deps/host/host.wit");
    of_world(host, include_str!("../../../../tests/contract/grown/module.wit"), world)
}

fn of_world(host: &str, module: &str, world: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    resolve.push_str("host.wit", host).unwrap();
    let package = resolve.push_str("module.wit", module).unwrap();
    let world = resolve.select_world(&[package], Some(world)).unwrap();
    let mut core = dummy_module(&resolve, world, ManglingAndAbi::Standard32);
    embed_component_metadata(&mut core, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().module(&core).unwrap().encode().unwrap()
}
