//! Where programs, modules and free ports are.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// The project's root.
pub fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate lies in the project")
}

/// The target directory that this test was built into.
fn target() -> PathBuf {
    let test = std::env::current_exe().expect("a running test has a path");
    // target/debug/deps/e2e-…
    test.ancestors().nth(3).expect("cargo puts tests three levels down").to_owned()
}

/// A directory that all tests share and that outlives them.
pub(crate) fn shared(name: &str) -> PathBuf {
    let path = target().join("tmp").join(name);
    std::fs::create_dir_all(&path).expect("the target directory is writable");
    path
}

/// Where compiled modules are kept: to compile the same ones for each test would take most of
/// its time.
pub fn compiled_modules() -> PathBuf {
    shared("compiled")
}

/// The program itself.
///
/// # Panics
/// If it was not built.
pub fn program() -> PathBuf {
    let path = std::env::var_os("TAPLINE_BIN").map_or_else(
        || {
            let test = std::env::current_exe().expect("a running test has a path");
            let profile = test.ancestors().nth(2).expect("cargo puts tests two levels down");
            profile.join("tapline")
        },
        PathBuf::from,
    );
    assert!(
        path.is_file(),
        "{} is not there: `cargo xtask test` builds it, or `cargo build --workspace --bin \
         tapline`; TAPLINE_BIN names another",
        path.display()
    );
    path
}

/// The directory with the modules that ship.
///
/// # Panics
/// If they were not built.
pub fn shipped_modules() -> PathBuf {
    modules_in("TAPLINE_TEST_MODULES", "modules", "session.wasm", "cargo xtask modules")
}

/// The directory with the modules that misbehave.
///
/// # Panics
/// If they were not built.
pub fn fixtures() -> PathBuf {
    let build = "cargo xtask modules --fixtures";
    modules_in("TAPLINE_TEST_FIXTURES", "fixtures", "hostile.wasm", build)
}

fn modules_in(variable: &str, folder: &str, one: &str, build: &str) -> PathBuf {
    let path = std::env::var_os(variable).map_or_else(|| target().join(folder), PathBuf::from);
    assert!(
        path.join(one).is_file(),
        "{} has no {one}: `cargo xtask test` builds it, or `{build}`; {variable} names another \
         directory",
        path.display()
    );
    path
}

/// The broker.
///
/// # Panics
/// If it is nowhere.
pub(crate) fn mosquitto() -> PathBuf {
    if let Some(path) = std::env::var_os("MOSQUITTO") {
        return path.into();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    places.map(|place| place.join("mosquitto")).find(|path| path.is_file()).unwrap_or_else(|| {
        panic!(
            "there is no `mosquitto` in PATH: `cargo xtask test` fetches one; MOSQUITTO names \
             another place"
        )
    })
}

/// How much of something a test does: what the variable says, or what every run has time for.
///
/// # Panics
/// If it says no number.
pub fn number_of(variable: &str, otherwise: u64) -> u64 {
    let said = std::env::var(variable);
    said.map_or(otherwise, |said| said.parse().unwrap_or_else(|_| panic!("{variable}={said}")))
}

/// Below the range from which systems choose ports for outgoing connections, so that a server
/// that is stopped finds its port free when it comes back.
const FIRST_PORT: u32 = 20_000;
const PORTS: u32 = 10_000;

/// A port that nobody listens on, and that no other call of this process returns.
///
/// # Panics
/// If all are taken.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Two runs at a time begin at different places.
    let offset = std::process::id().wrapping_mul(97);
    for _ in 0..PORTS {
        let number = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(offset) % PORTS;
        let port = u16::try_from(FIRST_PORT + number).expect("below 65,536");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port from {FIRST_PORT} on is free");
}
