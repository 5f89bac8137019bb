//! The validator's trait.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::message::{Message, Rejection};

/// Accepts or refuses messages before anything reads them.
///
/// ```
/// use tapline_sdk::prelude::*;
///
/// struct NotEmpty;
///
/// impl Validator for NotEmpty {
///     type Settings = NoSettings;
///     const NAME: &'static str = "not-empty";
///     const SUMMARY: &'static str = "Refuses messages without a payload";
///
///     fn new(_: NoSettings) -> Result<Self, String> {
///         Ok(Self)
///     }
///
///     fn validate(&self, message: &Message) -> Result<(), Rejection> {
///         if message.payload.is_empty() {
///             return Err(Rejection::new("empty", "the payload has no bytes"));
///         }
///         Ok(())
///     }
/// }
///
/// tapline_sdk::export_validator!(NotEmpty);
/// # fn main() {}
/// ```
pub trait Validator: Sized + 'static {
    /// What a pipeline may set; see [`settings!`](crate::settings!).
    type Settings: DeserializeOwned + JsonSchema + Default;
    /// The name that pipelines use.
    const NAME: &'static str;
    /// One sentence for a person.
    const SUMMARY: &'static str;

    /// Takes one set of settings. Called once per distinct set, so what is costly to
    /// prepare belongs here.
    ///
    /// # Errors
    /// What is wrong with settings that satisfy the schema (one field against another).
    fn new(settings: Self::Settings) -> Result<Self, String>;

    /// Judges one message.
    ///
    /// # Errors
    /// Why it is refused; the message then goes to the dead letters.
    fn validate(&self, message: &Message) -> Result<(), Rejection>;
}
