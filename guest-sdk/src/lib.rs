//! Everything that the author of a Tapline module needs.

// `settings!` names this crate as an author does, also where the crate itself uses it.
extern crate self as tapline_sdk;

mod detector;
#[doc(hidden)]
pub mod export;
mod item;
pub mod log;
mod message;
mod parser;
pub mod quantity;
mod settings;
mod sink;
pub mod testing;
mod validator;

pub use detector::{Detector, Input, Next, Step};
pub use item::{Event, Item, Measurement, Publication, Reading};
pub use message::{Message, Properties, Rejection, Timestamp};
pub use parser::{Companions, Parser};
pub use quantity::{OwnQuantity, Quantity};
pub use settings::NoSettings;
pub use sink::{
    Conclusion, Content, Delivery, Device, Encoding, Escaping, Origin, Outcome, Part, Plan,
    Request, Response, Sink, Verdict,
};
pub use validator::Validator;

pub use {schemars, serde, serde_json};

/// What nearly every module uses.
pub mod prelude {
    pub use crate::{
        Companions, Conclusion, Content, Delivery, Detector, Device, Encoding, Escaping, Event,
        Input, Item, Measurement, Message, Next, NoSettings, Origin, Outcome, OwnQuantity, Parser,
        Part, Plan, Properties, Publication, Quantity, Reading, Rejection, Request, Response, Sink,
        Step, Timestamp, Validator, Verdict,
    };
    pub use crate::{log, quantity};
    pub use schemars::JsonSchema;
    pub use serde::{Deserialize, Serialize};
}
