//! The sets of settings of one instance.

use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeMap;

use super::host::explain_panics;
use super::roles::Role;

thread_local! {
    // An instance has one thread and one role, so all entries are of one type; a static
    // cannot be generic, hence `Any`.
    static SETS: RefCell<BTreeMap<u32, Box<dyn Any>>> = const { RefCell::new(BTreeMap::new()) };
}

/// Builds what the role makes of `settings` and keeps it under `id`.
pub(super) fn configure<R: Role>(id: u32, settings: &str) -> Result<(), String> {
    explain_panics();
    let settings = serde_json::from_str(settings).map_err(|error| error.to_string())?;
    let configured: Box<dyn Any> = Box::new(R::new(settings)?);
    SETS.with_borrow_mut(|sets| sets.insert(id, configured));
    Ok(())
}

/// Drops what is kept under `id`.
pub(super) fn forget(id: u32) {
    SETS.with_borrow_mut(|sets| sets.remove(&id));
}

/// The JSON Schema (2020-12) of the role's settings.
pub(super) fn schema<R: Role>() -> String {
    schemars::generate::SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<R::Settings>()
        .as_value()
        .to_string()
}

/// Calls `each` with every input of a batch and what its settings were made into.
pub(super) fn for_each<R: Role, I, O>(
    batch: Vec<I>,
    id: impl Fn(&I) -> u32,
    mut each: impl FnMut(&R::Configured, I) -> O,
) -> Vec<O> {
    SETS.with_borrow(|sets| {
        batch.into_iter().map(|input| each(find::<R>(sets, id(&input)), input)).collect()
    })
}

/// Calls `with` with what the settings `id` were made into.
pub(super) fn with<R: Role, O>(id: u32, with: impl FnOnce(&R::Configured) -> O) -> O {
    SETS.with_borrow(|sets| with(find::<R>(sets, id)))
}

/// # Panics
/// If the host breaks the contract and uses a number that it did not configure.
fn find<R: Role>(sets: &BTreeMap<u32, Box<dyn Any>>, id: u32) -> &R::Configured {
    match sets.get(&id).and_then(|set| set.downcast_ref()) {
        Some(configured) => configured,
        None => panic!("the host uses settings {id} without having configured them"),
    }
}
