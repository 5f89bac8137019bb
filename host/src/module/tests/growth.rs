//! The contract after it has grown: the host as it would be then, and modules of the first one.
//!
//! `tests/contract/grown` is the first contract with a function, an interface and a world more,
//! under raised versions; a test of `tapline_kit::contract` holds it to that. Bindings are made
//! from it as the program's own are from `wit/`, and offered by the same linker, on the same
//! engine. So what the rules of `wit/README.md` say of growth is tried before there is any.

use wasmtime::component::{Component, HasSelf, InstancePre, Linker};

use super::*;
use crate::module::host::Host;
use crate::module::log::Log;

mod grown {
    #![allow(unreachable_pub, dead_code, clippy::all, clippy::pedantic)]

    wasmtime::component::bindgen!({
        path: "../tests/contract/grown",
        inline: "
            package tapline:bindings;
            world every-role {
                import tapline:host/log@0.1.1;
                export tapline:module/module@0.1.1;
                export tapline:module/validator@0.1.1;
                export tapline:module/parser@0.1.1;
                export tapline:module/detector@0.1.1;
                export tapline:module/sink@0.1.1;
                export tapline:module/trial@0.1.1;
            }
        ",
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}

use grown::exports::tapline::module::{detector, module, parser, sink, trial, validator};
use grown::tapline::host::log;
use grown::tapline::module::types;

impl types::Host for Host {}

impl log::Host for Host {
    fn write(&mut self, _: log::Level, _: String) {}

    fn enabled(&mut self, _: log::Level) -> bool {
        true
    }
}

/// A file as the grown host links it.
fn linked(bytes: &[u8]) -> wasmtime::Result<InstancePre<Host>> {
    let engine = &ENGINE.runtime.wasmtime;
    let mut linker = Linker::new(engine);
    grown::EveryRole::add_to_linker::<_, HasSelf<Host>>(&mut linker, |host| host)?;
    linker.instantiate_pre(&Component::from_binary(engine, bytes)?)
}

fn store() -> wasmtime::Store<Host> {
    let limits = Limits { time: std::time::Duration::from_secs(10), ..Limits::default() };
    let engine = &ENGINE.runtime.wasmtime;
    let mut store =
        wasmtime::Store::new(engine, Host::new(&limits, Log::new(log_context(), "".into())));
    store.set_epoch_deadline(u64::MAX / 2);
    store
}

fn first(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/contract/0.1.0");
    std::fs::read(format!("{folder}/{name}.wasm")).unwrap()
}

#[test]
fn a_host_of_a_grown_contract_runs_modules_of_the_first_one() {
    type Finds = fn(&InstancePre<Host>) -> wasmtime::Result<()>;
    let modules: [(&str, Finds); 4] = [
        ("payload-format", |pre| validator::GuestIndices::new(pre).map(drop)),
        ("shelly", |pre| parser::GuestIndices::new(pre).map(drop)),
        ("session", |pre| detector::GuestIndices::new(pre).map(drop)),
        ("odoo", |pre| sink::GuestIndices::new(pre).map(drop)),
    ];
    for (name, finds_its_role) in modules {
        let pre = linked(&first(name)).unwrap_or_else(|error| panic!("{name}: {error:#}"));
        finds_its_role(&pre).unwrap_or_else(|error| panic!("{name}: {error:#}"));
        let mut store = store();
        let instance = pre.instantiate(&mut store).unwrap();
        let guest = module::GuestIndices::new(&pre).unwrap().load(&mut store, &instance).unwrap();
        let given = guest.call_describe(&mut store).unwrap();
        let today = ENGINE.load(&first(name)).unwrap();
        assert_eq!((&*given.name, &*given.version), (today.name(), today.version()));
        // What it cannot know, the host asks for and does without.
        assert!(trial::GuestIndices::new(&pre).is_err(), "{name}");
    }
}

#[test]
fn a_parser_of_the_first_contract_reads_the_same_on_the_grown_host() {
    let status = message("cellar/status/switch:0", r#"{"id":0,"output":true,"apower":125.5}"#);
    let mut today = ENGINE
        .load(&first("shelly"))
        .unwrap()
        .instantiate(Limits::default(), log_context())
        .unwrap();
    today.configure(SETTINGS, "{}").unwrap().unwrap();
    let items = today.parse(&inputs(std::slice::from_ref(&status))).unwrap().remove(0).unwrap();
    let crate::message::Item::Reading(expected) = &items[0] else { panic!("{items:?}") };

    let pre = linked(&first("shelly")).unwrap();
    let mut store = store();
    let instance = pre.instantiate(&mut store).unwrap();
    let guest = module::GuestIndices::new(&pre).unwrap().load(&mut store, &instance).unwrap();
    guest.call_configure(&mut store, SETTINGS.0, "{}").unwrap().unwrap();
    let guest = parser::GuestIndices::new(&pre).unwrap().load(&mut store, &instance).unwrap();
    let message = types::Message {
        source: &status.id.source,
        topic: &status.topic,
        payload: &status.payload,
        received_at: status.received_at.0,
        qos: status.qos,
        retained: status.retained,
        device: None,
        properties: types::PropertiesParam {
            payload_is_text: None,
            message_expiry: None,
            content_type: None,
            response_topic: None,
            correlation_data: None,
            subscription_identifiers: &[],
            user: &[],
        },
    };
    let given = guest.call_parse(&mut store, &[parser::Input { settings: SETTINGS.0, message }]);
    let given = given.unwrap().remove(0).unwrap();
    assert_eq!(given.len(), items.len());
    let types::ItemResult::Reading(reading) = &given[0] else { panic!("{given:?}") };
    assert_eq!(reading.channel, expected.channel);
    let given: Vec<_> = reading.measurements.iter().map(|one| (one.quantity, one.value)).collect();
    let expected: Vec<_> =
        expected.measurements.iter().map(|one| (one.quantity.0, one.value)).collect();
    assert_eq!(given, expected);
}

#[test]
fn a_module_of_a_grown_contract_that_calls_what_is_new_is_refused_by_its_name() {
    // The module of the test calls all that is offered to it.
    for world in ["parser-module", "trial-module"] {
        let bytes = worlds::grown(world);
        let pre = linked(&bytes).unwrap();
        assert_eq!(trial::GuestIndices::new(&pre).is_ok(), world == "trial-module");
        let error = ENGINE.load(&bytes).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("in `tapline:host/log` the function `enabled` is not offered here"),
            "{error}"
        );
        assert!(error.remedy().contains("of the SDK"), "{}", error.remedy());
    }
}
