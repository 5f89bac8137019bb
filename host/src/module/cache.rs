//! Compiled modules, and that their own samples passed, kept as files beside the store.
//!
//! A file is named after everything it depends on: the module's bytes, the engine's
//! configuration, wasmtime's version. What does not verify is compiled anew and replaced;
//! what cannot be written is not kept. Deleting the folder costs time, nothing else. Several
//! processes may share it: a file appears whole or not at all, and any of them may vanish.

use std::fs;
use std::hash::{Hash as _, Hasher};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use sha2::{Digest, Sha256};
use wasmtime::component::Component;

use super::host::Limits;
use super::loaded::Hash;
use crate::telemetry;

/// Files kept (two for a module), and their bytes together; what was not used for longest goes first. Modules
/// that are replaced all day must not fill a disk.
const FILES: usize = 128;
const BYTES: u64 = 1 << 30;

/// Begins every file; counts up when its layout changes.
const MAGIC: &[u8; 16] = b"tapline-module-1";
const DIGEST: usize = 32;

pub(super) struct Cache {
    folder: PathBuf,
    /// Stands for engine configuration, processor and wasmtime's version.
    compiler: [u8; DIGEST],
}

/// Feeds a SHA-256 with what an engine's configuration hashes.
struct Sha(Sha256);

impl Hasher for Sha {
    fn finish(&self) -> u64 {
        0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
}

impl Cache {
    pub(super) fn new(folder: PathBuf, engine: &wasmtime::Engine) -> Self {
        let mut sha = Sha(Sha256::new());
        engine.precompile_compatibility_hash().hash(&mut sha);
        Self { folder, compiler: sha.0.finalize().into() }
    }

    /// The compiled form of the module with this hash, if it is kept and sound.
    pub(super) fn get(&self, engine: &wasmtime::Engine, module: &Hash) -> Option<Component> {
        let path = self.path(module);
        let file = read(&path)?;
        let component =
            sound(&file, &self.label(module)).and_then(|compiled| deserialize(engine, compiled));
        if component.is_none() {
            tracing::info!(file = %path.display(), "module_cache_discarded");
        }
        // So that the files in use are the last to go; where it cannot be written, none goes.
        let now = UNIX_EPOCH + Duration::from_millis(telemetry::clock::now().0);
        let _ = fs::File::open(&path).and_then(|file| file.set_modified(now));
        component
    }

    /// Keeps a compiled module. A full disk is no reason not to run.
    pub(super) fn put(&self, module: &Hash, component: &Component) {
        let path = self.path(module);
        let kept = component
            .serialize()
            .map_err(std::io::Error::other)
            .and_then(|compiled| self.write(&path, &self.label(module), &compiled));
        if let Err(error) = kept {
            tracing::info!(file = %path.display(), %error, "module_cache_not_written");
        }
    }

    /// Whether the module with this hash passed its own samples under these limits.
    pub(super) fn has_passed(&self, module: &Hash, limits: &Limits) -> bool {
        let label = self.passed(module, limits);
        read(&self.mark(&label)).is_some_and(|file| sound(&file, &label).is_some())
    }

    /// Remembers that it did, so that a start need not run them again.
    pub(super) fn keep_passed(&self, module: &Hash, limits: &Limits) {
        let label = self.passed(module, limits);
        let path = self.mark(&label);
        if let Err(error) = self.write(&path, &label, &[]) {
            tracing::info!(file = %path.display(), %error, "module_cache_not_written");
        }
    }

    /// Stands for a module, what it may use, and the version that compares.
    fn passed(&self, module: &Hash, limits: &Limits) -> [u8; DIGEST] {
        let Limits { memory, time, output, state } = limits;
        let rest =
            format!("samples {memory} {time:?} {output} {state} {}", env!("CARGO_PKG_VERSION"));
        Sha256::new().chain_update(self.label(module)).chain_update(rest).finalize().into()
    }

    fn mark(&self, label: &[u8; DIGEST]) -> PathBuf {
        self.folder.join(format!("{}.passed", Hash(*label)))
    }

    fn path(&self, module: &Hash) -> PathBuf {
        self.folder.join(format!("{}.compiled", Hash(self.label(module))))
    }

    /// Stands for the module and everything else that the compiled form depends on.
    fn label(&self, module: &Hash) -> [u8; DIGEST] {
        Sha256::new().chain_update(module.0).chain_update(self.compiler).finalize().into()
    }

    fn write(&self, path: &Path, label: &[u8], compiled: &[u8]) -> std::io::Result<()> {
        let mut folder = fs::DirBuilder::new();
        folder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut folder, 0o700);
        folder.create(&self.folder)?;
        // Created with mode 0600, and renamed so that no half of it is ever read.
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        file.write_all(MAGIC)?;
        file.write_all(label)?;
        file.write_all(&digest(label, compiled))?;
        file.write_all(compiled)?;
        file.persist(path)?;
        self.prune()
    }

    /// Whatever lies in the folder is ours, leftovers of a crash included. What another
    /// process removed meanwhile is no longer in the way.
    fn prune(&self) -> std::io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)?.flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_file() {
                files.push((metadata.modified()?, metadata.len(), entry.path()));
            }
        }
        files.sort();
        let mut bytes = 0_u64;
        for (position, (_, size, path)) in files.iter().rev().enumerate() {
            bytes = bytes.saturating_add(*size);
            // The newest was written just now.
            if position == 0 || position < FILES && bytes <= BYTES {
                continue;
            }
            match fs::remove_file(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

/// A file's bytes; none of what is no file of ours (a pipe has no end, a disk image no room).
fn read(path: &Path) -> Option<Vec<u8>> {
    let metadata = fs::metadata(path).ok()?;
    if !metadata.is_file() || metadata.len() > BYTES {
        return None;
    }
    fs::read(path).ok()
}

fn digest(label: &[u8], compiled: &[u8]) -> [u8; DIGEST] {
    Sha256::new().chain_update(label).chain_update(compiled).finalize().into()
}

/// The compiled bytes of a file that is whole and holds what its name says.
fn sound<'a>(file: &'a [u8], label: &[u8]) -> Option<&'a [u8]> {
    let rest = file.strip_prefix(MAGIC)?.strip_prefix(label)?;
    let (kept, compiled) = rest.split_at_checked(DIGEST)?;
    (kept == digest(label, compiled)).then_some(compiled)
}

// wasmtime runs what it is given here as machine code without another look.
#[allow(unsafe_code)]
fn deserialize(engine: &wasmtime::Engine, compiled: &[u8]) -> Option<Component> {
    // SAFETY: the bytes were made by `Component::serialize` of the same wasmtime with the
    // same configuration (both are in the label) and have not changed since (the digest).
    // The file is ours alone (mode 0600): who can write it can as well replace the program.
    unsafe { Component::deserialize(engine, compiled) }.ok()
}
