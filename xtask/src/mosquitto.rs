//! A real Mosquitto for the end-to-end tests: the machine's, or Debian's unpacked below the
//! target directory.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use tapline_kit::Progress;
use tapline_kit::debian::{Debian, answers, multiarch};

use crate::step::Steps;
use crate::workspace::Workspace;

/// Where distributions put it, beside `PATH`.
const PLACES: [&str; 3] = ["/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin"];

/// Libraries of Debian's package that a small system lacks.
const LIBRARIES: [&str; 5] =
    ["libcjson1", "libdlt2", "libmosquitto1", "libwebsockets17", "libwrap0"];

/// The program's path; fetched where the machine has none.
pub(crate) fn find(workspace: &Workspace) -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let places = env::split_paths(&path).chain(PLACES.iter().map(PathBuf::from));
    if let Some(found) = places.map(|place| place.join("mosquitto")).find(|p| p.is_file()) {
        return Ok(found);
    }
    let root = workspace.tools().join("mosquitto");
    let program = root.join("run");
    if program.is_file() {
        return Ok(program);
    }
    let mut steps = Steps::default();
    steps.begin("Mosquitto");
    let Some(debian) = Debian::with("mosquitto", &workspace.tools(), &mut steps)? else {
        bail!(
            "the tests need a Mosquitto broker and this machine has none: install the package \
             `mosquitto` (apt, dnf, apk, brew) and run this again"
        );
    };
    let mut packages = vec!["mosquitto".to_owned()];
    packages
        .extend(LIBRARIES.iter().filter(|l| debian.depends(l).is_ok()).map(|l| (*l).to_owned()));
    debian.unpack(&packages, &root, &mut steps)?;
    write_starter(&root, &program)?;
    // `-h` prints the version and ends with 3, which still says that all libraries are there.
    if !answers("sh", &["-c", &format!("{} -h | grep -q mosquitto", program.display())]) {
        fs::remove_dir_all(&root)?;
        bail!(
            "Debian's Mosquitto does not start here, a library is missing: install the package \
             `mosquitto` and run this again"
        );
    }
    steps.done("fetched");
    Ok(program)
}

/// A script that runs the program with the libraries beside it.
fn write_starter(root: &Path, program: &Path) -> Result<()> {
    let libraries = root.join("usr/lib").join(multiarch(&host()));
    let text = format!(
        "#!/bin/sh\nLD_LIBRARY_PATH='{}' exec '{}' \"$@\"\n",
        libraries.display(),
        root.join("usr/sbin/mosquitto").display()
    );
    fs::write(program, text)?;
    fs::set_permissions(program, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

fn host() -> String {
    format!("{}-unknown-linux-gnu", env::consts::ARCH)
}
