//! Tells the program when it was built: a wall clock before that is not set yet.

use std::time::{SystemTime, UNIX_EPOCH};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=SOURCE_DATE_EPOCH");
    let given = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|s| s.parse::<u64>().ok());
    #[allow(clippy::disallowed_methods)] // at build time there is no other clock
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    println!("cargo:rustc-env=TAPLINE_BUILD_MS={}", given.unwrap_or_else(now) * 1000);
}
