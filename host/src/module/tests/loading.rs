//! What is refused when it is loaded, and in which words.

use serde_json::json;

use super::*;

#[track_caller]
fn is_refused(bytes: &[u8], expected: &str) {
    let error = ENGINE.load(bytes).unwrap_err();
    assert!(error.to_string().contains(expected), "`{expected}` is not in: {error}");
    assert!(!error.remedy().is_empty());
}

#[test]
fn loads_every_module_that_ships() {
    for (name, role) in [
        ("payload-format", Role::Validator),
        ("shelly", Role::Parser),
        ("tasmota", Role::Parser),
        ("session", Role::Detector),
        ("odoo", Role::Sink),
    ] {
        let bytes = wasm(name);
        let module = module(name);
        assert_eq!((module.name(), module.role()), (name, role));
        assert_eq!(module.hash(), Hash::of(&bytes));
        assert_eq!(module.version(), env!("CARGO_PKG_VERSION"));
        assert!(module.settings_schema().is_object());
        assert_eq!(module.state_version() > 0, role == Role::Detector, "{name}");
    }
}

#[test]
fn refuses_what_is_no_module() {
    is_refused(b"", "the file is empty");
    is_refused(b"<!doctype html>", "this is not a WebAssembly module");
    let bytes = wasm("shelly");
    is_refused(&bytes[..bytes.len() / 2], "does not compile");
    let mut bent = bytes.clone();
    bent[1000..1100].fill(0xff);
    is_refused(&bent, "does not compile");
    is_refused(b"\0asm\x01\0\0\0", "exports nothing");
    is_refused(b"\0asm\x01\0\0\0\x63\0", "cannot be made a component");
    is_refused(&vec![0; (32 << 20) + 1], "33554433 bytes, more than the 33554432 allowed");
}

#[test]
fn refuses_an_import_by_its_name() {
    let clock = "interface clock { now: func() -> u64; } interface kinds { type kind = u32; }";
    let error = ENGINE.load(&worlds::parser(clock, "import clock;")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the module imports `test:it/clock#now`, but a module may import nothing except \
         `tapline:host/log`"
    );
    is_refused(&worlds::parser("", "import now: func() -> u64;"), "imports `now`");
    let file = "interface files { resource file { read: func() -> list<u8>; } }";
    is_refused(&worlds::parser(file, "import files;"), "`test:it/files#file`");
}

#[test]
fn refuses_another_version_of_the_contract() {
    let error = ENGINE.load(&worlds::of_version("0.9.0")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the module was made for `tapline:host/log@0.9.0`, and this program speaks \
         `tapline:host/log@0.1.0`"
    );
    let sdk = concat!("version ", env!("CARGO_PKG_VERSION"), " of the SDK");
    assert!(error.remedy().contains(sdk), "{}", error.remedy());
}

#[test]
fn says_in_what_another_contract_differs() {
    let without_device = ("    device: option<string>,\n    properties", "    properties");
    for version in ["0.1.0", "0.1.4", "0.2.0"] {
        is_refused(
            &worlds::changed(version, without_device),
            "in `tapline:module/parser` the record `message` lacks the field `device`",
        );
    }
    is_refused(
        &worlds::changed("0.1.1", ("write: func", "flush: func();\n  write: func")),
        "in `tapline:host/log` the function `flush` is not offered here",
    );
}

#[test]
fn loads_modules_of_the_first_contract_as_they_were_built_then() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/contract/0.1.0");
    let load = |name: &str| {
        let bytes = std::fs::read(format!("{folder}/{name}.wasm")).unwrap();
        ENGINE.load(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    for (name, role) in
        [("shelly", Role::Parser), ("session", Role::Detector), ("odoo", Role::Sink)]
    {
        assert_eq!(load(name).role(), role);
    }
    let mut validator =
        load("payload-format").instantiate(Limits::default(), log_context()).unwrap();
    validator.configure(SETTINGS, r#"{"format":"json"}"#).unwrap().unwrap();
    let messages = [message("t", r#"{"a":1}"#), message("t", r#"{"a":"#)];
    let verdicts = validator.validate(&inputs(&messages)).unwrap();
    assert_eq!((verdicts[0].is_ok(), verdicts[1].is_ok()), (true, false));
}

#[test]
fn runs_a_module_of_a_contract_that_has_grown_since() {
    // What a module does not use of a later contract, it does not notice; versions stand in the
    // file as text.
    let mut later = wasm("shelly");
    let (from, to) = (b"@0.1.0", b"@0.1.9");
    let mut replaced = 0;
    while let Some(at) = later.windows(from.len()).position(|bytes| bytes == from) {
        later[at..at + from.len()].copy_from_slice(to);
        replaced += 1;
    }
    assert!(replaced > 3, "{replaced}");
    let module = ENGINE.load(&later).unwrap();
    let mut instance = module.instantiate(Limits::default(), log_context()).unwrap();
    instance.configure(SETTINGS, "{}").unwrap().unwrap();
    let status = message("cellar/status/switch:0", r#"{"id":0,"output":true,"apower":125.5}"#);
    let items = instance.parse(&inputs(&[status])).unwrap().remove(0).unwrap();
    assert!(!items.is_empty());
}

#[test]
fn refuses_what_has_no_role_or_two() {
    is_refused(&worlds::component("", "export run: func();"), "exports `run`, which is no role");
    is_refused(&worlds::component("", "export tapline:module/module@0.1.0;"), "no role");
    is_refused(
        &worlds::parser("", "export tapline:module/validator@0.1.0;"),
        "but a module has one role",
    );
    is_refused(&worlds::component("", "export tapline:module/parser@0.1.0;"), "another shape");
}

#[test]
fn wraps_a_core_module_with_metadata() {
    let body = "import tapline:host/log@0.1.0; export tapline:module/module@0.1.0; \
                export tapline:module/sink@0.1.0;";
    // It gets as far as being called, where a module without code fails.
    let error = ENGINE.load(&worlds::core("", body)).unwrap_err();
    assert!(matches!(error, LoadError::Describe(CallError::Trap { .. })), "{error:?}");
}

#[test]
fn gives_a_module_that_takes_too_long_to_compile_up() {
    let compile_time = std::time::Duration::ZERO;
    let options = EngineOptions { compile_time, ..EngineOptions::default() };
    let error = Engine::new(None, options).unwrap().load(&wasm("shelly")).unwrap_err();
    assert!(matches!(error, LoadError::CompileTimeout { .. }), "{error}");
}

#[test]
fn finds_everything_that_is_wrong_with_settings() {
    let session = module("session");
    assert_eq!(session.check_settings(&json!({})), []);
    let errors = session.check_settings(&json!({
        "standby_threshold_w": "ten",
        "no_such_setting": 1,
    }));
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(errors.iter().any(|e| e.pointer == "/standby_threshold_w" && e.what.contains("ten")));
    assert!(errors.iter().any(|e| e.pointer.is_empty() && e.what.contains("no_such_setting")));
}
