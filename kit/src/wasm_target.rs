//! A compiler that can build for `wasm32-unknown-unknown`.
//!
//! In this order: the toolchain as it is; the target added by rustup; Debian's compiler
//! for the web, unpacked into a private folder, with the standard library built from its
//! source (for machines that reach only package registries).

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::debian::{Debian, multiarch};
use crate::{Error, Progress};

/// What modules are compiled for.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// Where it hangs for longer, the download would not come.
const RUSTUP_PATIENCE: Duration = Duration::from_secs(120);

/// How to build for the web on this machine.
#[derive(Debug)]
pub enum Toolchain {
    /// Cargo and compiler as they are.
    Installed,
    /// Debian's compiler below `root`.
    Debian { root: PathBuf, host: String, linker: PathBuf },
}

impl Toolchain {
    /// Finds the compiler that builds in `place`, or fetches one into `tools`.
    ///
    /// # Errors
    /// That there is no Rust, or nothing in it or to be had that builds for the web.
    pub fn find(place: &Path, tools: &Path, progress: &mut dyn Progress) -> Result<Self, Error> {
        let sysroot = PathBuf::from(rustc(place, &["--print", "sysroot"])?);
        let installed = sysroot.join("lib/rustlib").join(TARGET).join("lib");
        if installed.is_dir() {
            return Ok(Self::Installed);
        }
        let host = host(place)?;
        let linker = sysroot.join("lib/rustlib").join(&host).join("bin");
        let root = tools.join("rustc-web");
        let complete = root.join("complete");
        if !complete.exists() {
            progress.begin("WebAssembly target");
            if add_by_rustup(place, progress) && installed.is_dir() {
                progress.done("added by rustup");
                return Ok(Self::Installed);
            }
            if !unpack(&root, tools, progress)? {
                return Err(Error::missing(
                    format!("no compiler for {TARGET}"),
                    format!(
                        "run `rustup target add {TARGET}`, or on Debian give apt a source that \
                         has `rustc-web` and `rust-web-src`"
                    ),
                ));
            }
            fs::write(&complete, "").map_err(Error::file(&complete, "written"))?;
            progress.done("Debian's compiler unpacked");
        }
        if !linker.join("rust-lld").exists() {
            return Err(Error::missing(
                format!("the toolchain in `{}` has no rust-lld", sysroot.display()),
                "use a toolchain of rustup's",
            ));
        }
        Ok(Self::Debian { root, host, linker })
    }

    /// A cargo that builds with it; `--target` is set.
    #[must_use]
    pub fn cargo(&self, subcommand: &str) -> Command {
        let mut command = Command::new(cargo());
        command.args([subcommand, "--target", TARGET]);
        // Flags for the host's linker are none of the guests' business.
        command.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
        if let Self::Debian { root, host, linker } = self {
            let mut path = linker.clone().into_os_string();
            if let Some(rest) = env::var_os("PATH") {
                path.push(":");
                path.push(rest);
            }
            command
                .arg("-Zbuild-std=std,panic_abort")
                .env("RUSTC", root.join("usr/bin/rustc"))
                .env("RUSTC_BOOTSTRAP", "1")
                .env("LD_LIBRARY_PATH", root.join("usr/lib").join(multiarch(host)))
                .env("PATH", path);
        }
        command
    }
}

/// The cargo that runs this program, else the person's.
#[must_use]
pub fn cargo() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// What the compiler that counts in `place` answers.
fn rustc(place: &Path, arguments: &[&str]) -> Result<String, Error> {
    let output = Command::new("rustc").args(arguments).current_dir(place).output();
    let output = output.map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => {
            Error::missing("this machine has no Rust compiler", "install Rust: https://rustup.rs")
        }
        _ => Error::Run { program: "rustc".into(), source },
    })?;
    if !output.status.success() {
        return Err(Error::Failed {
            program: "rustc".into(),
            status: output.status,
            said: String::from_utf8_lossy(&output.stderr).into_owned(),
        });
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn host(place: &Path) -> Result<String, Error> {
    let version = rustc(place, &["--version", "--verbose"])?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| {
        Error::missing("rustc does not name its host", "use a toolchain of rustup's")
    })
}

/// Without network rustup fails at once or hangs, so it gets a time limit.
fn add_by_rustup(place: &Path, progress: &mut dyn Progress) -> bool {
    progress.show("asking rustup");
    let child = Command::new("rustup")
        .args(["target", "add", TARGET])
        .current_dir(place)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else { return false };
    let until = Instant::now() + RUSTUP_PATIENCE;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) if Instant::now() < until => thread::sleep(Duration::from_millis(100)),
            Ok(None) | Err(_) => {
                // It may have ended meanwhile; either way the answer is no.
                let _ = child.kill();
                let _ = child.wait();
                return false;
            }
        }
    }
}

/// Puts Debian's compiler below `root`; false where there is none to be had.
fn unpack(root: &Path, tools: &Path, progress: &mut dyn Progress) -> Result<bool, Error> {
    let Some(debian) = Debian::with("rustc-web", tools, progress)? else { return Ok(false) };
    if root.exists() {
        // Half unpacked by a run that did not come to its end.
        fs::remove_dir_all(root).map_err(Error::file(root, "removed"))?;
    }
    // The compiler's library and its LLVM carry their version in the package's name.
    let mut packages: Vec<String> =
        ["rustc-web", "rust-web-src", "libstd-rust-web-dev"].map(String::from).into();
    for library in debian.depends("libstd-rust-web-dev")? {
        packages.extend(
            debian.depends(&library)?.into_iter().filter(|name| name.starts_with("libllvm")),
        );
        packages.push(library);
    }
    packages.sort();
    packages.dedup();
    debian.unpack(&packages, root, progress)?;
    let sources = root.join("usr/src");
    let source = fs::read_dir(&sources)
        .map_err(Error::file(&sources, "read"))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.join("library").is_dir())
        .ok_or_else(|| {
            Error::missing(
                "`rust-web-src` holds no source of the standard library",
                format!("run `rustup target add {TARGET}`"),
            )
        })?;
    let folder = root.join("usr/lib/rustlib/src");
    let link = folder.join("rust");
    fs::create_dir_all(&folder).map_err(Error::file(&folder, "made"))?;
    if link.symlink_metadata().is_ok() {
        fs::remove_file(&link).map_err(Error::file(&link, "removed"))?;
    }
    symlink(source, &link).map_err(Error::file(&link, "made"))?;
    Ok(true)
}
