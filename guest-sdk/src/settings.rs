//! Settings: a struct, its defaults and its JSON Schema in one place.

use schemars::JsonSchema;
use serde::Deserialize;

/// Declares a struct of settings with a default for each field.
///
/// The struct derives `Deserialize` and `JsonSchema`, so that the host checks a pipeline
/// against it before the module sees anything; an unknown key is an error. Doc comments
/// become the descriptions in the schema, and `#[schemars(range(min = 0.0))]` and the like
/// narrow it. What no schema can say (one field below another) is checked in `new`.
///
/// ```
/// tapline_sdk::settings! {
///     /// When the machine counts as running.
///     pub struct Settings {
///         /// Power from which on it runs, in W.
///         #[schemars(range(min = 0.0))]
///         pub threshold_w: f64 = 20.0,
///         /// The channel to watch; all when absent.
///         pub channel: Option<String> = None,
///     }
/// }
///
/// assert_eq!(Settings::default().threshold_w, 20.0);
/// ```
#[macro_export]
macro_rules! settings {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident {
            $( $(#[$field_meta:meta])* $field_vis:vis $field:ident : $type:ty = $default:expr ),* $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, PartialEq, Debug, $crate::serde::Deserialize, $crate::schemars::JsonSchema)]
        #[serde(crate = "tapline_sdk::serde", deny_unknown_fields, default)]
        #[schemars(crate = "tapline_sdk::schemars")]
        $vis struct $name {
            $( $(#[$field_meta])* $field_vis $field: $type, )*
        }

        impl ::core::default::Default for $name {
            fn default() -> Self {
                Self { $( $field: $default, )* }
            }
        }
    };
}

/// For a module that has nothing to set.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoSettings {}
