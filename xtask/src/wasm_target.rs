//! A compiler that can build for `wasm32-unknown-unknown`.
//!
//! In this order: the toolchain as it is; the target added by rustup; Debian's compiler
//! for the web, unpacked below the target directory, with the standard library built from
//! its source (for machines that reach only package registries).

use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::debian::{Debian, multiarch};
use crate::step::Step;
use crate::workspace::{Workspace, cargo};

pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

/// Where it hangs for longer, the download would not come.
const RUSTUP_PATIENCE: Duration = Duration::from_secs(120);

/// How to build for the web on this machine.
pub(crate) enum Toolchain {
    /// Cargo and compiler as they are.
    Installed,
    /// Debian's compiler below `root`.
    Debian { root: PathBuf, host: String, linker: PathBuf },
}

impl Toolchain {
    /// Finds a compiler, or fetches one.
    pub(crate) fn find(workspace: &Workspace) -> Result<Self> {
        let sysroot = PathBuf::from(rustc(&["--print", "sysroot"])?);
        let installed = sysroot.join("lib/rustlib").join(TARGET).join("lib");
        if installed.is_dir() {
            return Ok(Self::Installed);
        }
        let version = rustc(&["--version", "--verbose"])?;
        let host = version
            .lines()
            .find_map(|line| line.strip_prefix("host: "))
            .context("rustc does not name its host")?
            .to_owned();
        let linker = sysroot.join("lib/rustlib").join(&host).join("bin");
        let root = workspace.tools().join("rustc-web");
        let complete = root.join("complete");
        if !complete.exists() {
            let step = Step::begin("WebAssembly target");
            if add_by_rustup(&step) && installed.is_dir() {
                step.done("added by rustup");
                return Ok(Self::Installed);
            }
            if !unpack(&root, &workspace.tools(), &step)? {
                bail!(
                    "no compiler for {TARGET}: run `rustup target add {TARGET}`, or on Debian \
                     give apt a source that has `rustc-web` and `rust-web-src`"
                );
            }
            fs::write(&complete, "")?;
            step.done("Debian's compiler unpacked");
        }
        if !linker.join("rust-lld").exists() {
            bail!(
                "the toolchain in {} has no rust-lld: use a toolchain of rustup's",
                sysroot.display()
            );
        }
        Ok(Self::Debian { root, host, linker })
    }

    /// A cargo that builds with it; `--target` is set.
    pub(crate) fn cargo(&self, subcommand: &str) -> Command {
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

fn rustc(arguments: &[&str]) -> Result<String> {
    let output = Command::new("rustc").args(arguments).output().context("cannot run rustc")?;
    if !output.status.success() {
        bail!("rustc failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Without network rustup fails at once or hangs, so it gets a time limit.
fn add_by_rustup(step: &Step) -> bool {
    step.show("asking rustup");
    let child = Command::new("rustup")
        .args(["target", "add", TARGET])
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
fn unpack(root: &Path, tools: &Path, step: &Step) -> Result<bool> {
    let Some(debian) = Debian::with("rustc-web", tools, step)? else { return Ok(false) };
    if root.exists() {
        fs::remove_dir_all(root).context("cannot remove a half-unpacked compiler")?;
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
    debian.unpack(&packages, root, step)?;
    let source = fs::read_dir(root.join("usr/src"))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.join("library").is_dir())
        .context("`rust-web-src` holds no library source")?;
    let link = root.join("usr/lib/rustlib/src/rust");
    fs::create_dir_all(link.parent().context("the link has a folder")?)?;
    if link.symlink_metadata().is_ok() {
        fs::remove_file(&link)?;
    }
    symlink(source, &link).context("cannot link the standard library's source")?;
    Ok(true)
}
