//! The real modules and the misbehaving ones of `tests/modules`, through the interface
//! that the rest of the program uses.

mod cached;
mod growth;
mod handmade;
mod hostile;
mod limits;
mod loading;
mod roles;
mod worlds;

use std::collections::HashMap;
use std::env;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex};

use bytes::Bytes;

use super::*;
use crate::message::{Message, MessageId, Properties, Timestamp};

const SETTINGS: SettingsId = SettingsId(1);

static ENGINE: LazyLock<Engine> =
    LazyLock::new(|| Engine::new(None, EngineOptions::default()).unwrap());

static MODULES: LazyLock<Mutex<HashMap<String, Arc<Module>>>> = LazyLock::new(Mutex::default);

/// The bytes of a module that `cargo xtask modules --fixtures` built.
pub(crate) fn wasm(name: &str) -> Vec<u8> {
    let exe = env::current_exe().unwrap();
    let target = exe.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file()).unwrap();
    let folder =
        |variable, folder| env::var_os(variable).map_or_else(|| target.join(folder), PathBuf::from);
    [folder("TAPLINE_TEST_MODULES", "modules"), folder("TAPLINE_TEST_FIXTURES", "fixtures")]
        .iter()
        .find_map(|folder| std::fs::read(folder.join(format!("{name}.wasm"))).ok())
        .unwrap_or_else(|| panic!("no module `{name}`: run `cargo xtask modules --fixtures` first"))
}

/// A module, compiled once for all tests.
pub(crate) fn module(name: &str) -> Arc<Module> {
    let mut modules = MODULES.lock().unwrap();
    let load = || ENGINE.load(&wasm(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    Arc::clone(modules.entry(name.to_owned()).or_insert_with(load))
}

/// A parser that reads a clock of its own.
pub(crate) fn forbidden() -> Vec<u8> {
    worlds::parser("interface clock { now: func() -> u64; }", "import clock;")
}

/// A parser of a contract that this program does not speak.
pub(crate) fn of_another_version() -> Vec<u8> {
    worlds::of_version("0.9.0")
}

fn log_context() -> LogContext {
    LogContext::new(&"workshop".into(), &"stage".into())
}

/// An instance with default settings.
fn instance(name: &str) -> Instance {
    instance_within(name, Limits::default())
}

fn instance_within(name: &str, limits: Limits) -> Instance {
    let mut instance = module(name).instantiate(limits, log_context()).unwrap();
    instance.configure(SETTINGS, "{}").unwrap().unwrap();
    instance
}

pub(crate) fn message(topic: &str, payload: &str) -> Message {
    Message {
        id: MessageId { source: "main".into(), epoch: 1, sequence: 1 },
        topic: topic.into(),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        received_at: Timestamp(1_770_000_000_000),
        qos: 1,
        retained: false,
        properties: Arc::new(Properties::default()),
    }
}

fn inputs(messages: &[Message]) -> Vec<Input<'_>> {
    messages.iter().map(|message| Input { settings: SETTINGS, message, device: None }).collect()
}
