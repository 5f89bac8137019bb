//! What the end-to-end tests stand on: a real Mosquitto, the real program, machines that
//! report, and certificates.
//!
//! Everything runs on loopback, in directories that go when the test ends. Waiting is always
//! looking again until something holds, never sleeping for a while and hoping. Invariant: a
//! thing that is missing fails the test with the words that say how to get it; nothing is
//! skipped.

mod authority;
mod bench;
mod failpoints;
mod listener;
mod load;
mod machine;
mod mosquitto;
mod places;
pub mod properties;
mod proxy;
mod publisher;
mod scrape;
mod scripted;
mod shell;
mod site;
mod slow;
mod small_disk;
mod tally;
mod tapline;
mod wait;

pub use authority::{Authority, day_in};
pub use bench::{Bench, COURSE, Odoo};
pub use listener::{Heard, Listener, Mark};
pub use load::{Load, courses};
pub use machine::{Machine, document};
pub use mosquitto::Mosquitto;
pub use places::{
    compiled_modules, fixtures, free_port, number_of, program, project, shipped_modules,
};
pub use proxy::{Ending, Proxy, Way, Weather};
pub use publisher::Publisher;
pub use scrape::Scrape;
pub use scripted::Scripted;
pub use shell::{Talk, typed_in};
pub use site::{copy_of_shipped, write};
pub use slow::Slow;
pub use small_disk::SmallDisk;
pub use tally::{Flow, Tally};
pub use tapline::{Answer, Call, Setup, Tapline};
pub use wait::{PATIENCE, eventually};
