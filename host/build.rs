//! Embeds the modules that `cargo xtask modules` built (without them the program is built
//! all the same and embeds none), and tells it when it was built: a wall clock before that
//! is not set yet.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    tell_build_time();
    embed_modules();
}

fn tell_build_time() {
    println!("cargo::rerun-if-env-changed=SOURCE_DATE_EPOCH");
    let given = env::var("SOURCE_DATE_EPOCH").ok().and_then(|s| s.parse::<u64>().ok());
    #[allow(clippy::disallowed_methods)] // at build time there is no other clock
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    println!("cargo::rustc-env=TAPLINE_BUILD_MS={}", given.unwrap_or_else(now) * 1000);
}

fn embed_modules() {
    println!("cargo::rerun-if-env-changed=TAPLINE_MODULES_DIR");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let folder = env::var_os("TAPLINE_MODULES_DIR").map(PathBuf::from).or_else(|| built(&out));
    let mut source = String::from("const EMBEDDED: &[(&str, &[u8])] = &[\n");
    if let Some(folder) = folder {
        // Watched from now on; cargo takes a folder that is missing for one that changed.
        fs::create_dir_all(&folder).expect("the target directory is writable");
        println!("cargo::rerun-if-changed={}", folder.display());
        for (name, path) in modules(&folder) {
            println!("cargo::rerun-if-changed={}", path.display());
            writeln!(source, "    ({name:?}, include_bytes!({path:?})),").expect("text grows");
        }
    }
    source.push_str("];\n");
    fs::write(out.join("shipped_modules.rs"), source).expect("OUT_DIR is writable");
}

/// `modules` of the target directory that cargo builds into, whichever that is.
fn built(out: &Path) -> Option<PathBuf> {
    let target = out.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file())?;
    Some(target.join("modules"))
}

fn modules(folder: &Path) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut modules: Vec<_> = entries
        .filter_map(|entry| {
            let path = entry.path();
            let name = path.file_name()?.to_str()?.strip_suffix(".wasm")?;
            (!name.starts_with('.')).then(|| (name.to_owned(), path.clone()))
        })
        .collect();
    modules.sort();
    modules
}
