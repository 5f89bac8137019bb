//! Debian's packages, unpacked into a private folder: nothing is installed, and root is
//! not needed.
//!
//! `apt-get download` checks each file against the signed package lists. Where the
//! machine's lists are empty and we may not fill them, lists of our own are fetched.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Error, Progress, run};

/// Debian's packages as this machine's sources offer them.
pub struct Debian {
    /// Options that send apt to lists of our own; empty where it uses the machine's.
    options: Vec<String>,
}

impl Debian {
    /// Makes sure that `package` can be fetched, refreshing the lists if they lack it.
    /// `None` where this is no Debian or none of its sources has the package.
    ///
    /// # Errors
    /// That the package lists cannot be refreshed.
    pub fn with(
        package: &str,
        folder: &Path,
        progress: &mut dyn Progress,
    ) -> Result<Option<Self>, Error> {
        if !answers("apt-get", &["--version"]) || !answers("dpkg", &["--version"]) {
            return Ok(None);
        }
        let machine = Self { options: Vec::new() };
        if machine.depends(package).is_ok() {
            return Ok(Some(machine));
        }
        progress.show("refreshing the package lists");
        if run(Command::new("apt-get").args(["-q", "update"]), progress).is_ok() {
            return Ok(machine.depends(package).is_ok().then_some(machine));
        }
        let own = Self::own_lists(&folder.join("apt"))?;
        run(own.command("apt-get").args(["-q", "update"]), progress)?;
        Ok(own.depends(package).is_ok().then_some(own))
    }

    /// Keeps state and cache below `folder`, so that a user who is not root can update.
    fn own_lists(folder: &Path) -> Result<Self, Error> {
        let (state, cache) = (folder.join("state"), folder.join("cache"));
        for needed in [state.join("lists/partial"), cache.join("archives/partial")] {
            fs::create_dir_all(&needed).map_err(Error::file(&needed, "made"))?;
        }
        Ok(Self {
            options: vec![
                format!("-oDir::State={}", state.display()),
                "-oDir::State::status=/var/lib/dpkg/status".into(),
                format!("-oDir::Cache={}", cache.display()),
            ],
        })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(&self.options).env("LC_ALL", "C").env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    /// The packages that `package` depends on directly.
    ///
    /// # Errors
    /// That the lists do not have it.
    pub fn depends(&self, package: &str) -> Result<Vec<String>, Error> {
        let output = self
            .command("apt-cache")
            .args(["depends", "--no-recommends", "--no-suggests", "--no-conflicts"])
            .args(["--no-breaks", "--no-replaces", "--no-enhances", package])
            .output()
            .map_err(|source| Error::Run { program: "apt-cache".into(), source })?;
        if !output.status.success() || output.stdout.is_empty() {
            return Err(Error::missing(
                format!("the package lists have no `{package}`"),
                "give apt a source that has it",
            ));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("Depends: "))
            .filter(|name| !name.starts_with('<'))
            .map(str::to_owned)
            .collect())
    }

    /// Downloads and unpacks the packages into `root`, which afterwards looks like `/`.
    ///
    /// # Errors
    /// That a package cannot be downloaded or unpacked.
    pub fn unpack(
        &self,
        packages: &[String],
        root: &Path,
        progress: &mut dyn Progress,
    ) -> Result<(), Error> {
        let archives = root.with_extension("archives");
        for folder in [archives.as_path(), root] {
            fs::create_dir_all(folder).map_err(Error::file(folder, "made"))?;
        }
        progress.show(&format!("downloading {}", packages.join(", ")));
        let mut download = self.command("apt-get");
        download.args(["-q", "download"]).args(packages).current_dir(&archives);
        run(&mut download, progress)?;
        for archive in files_in(&archives).map_err(Error::file(&archives, "read"))? {
            progress.show(&format!("unpacking {}", archive.display()));
            run(Command::new("dpkg").arg("-x").arg(&archive).arg(root), progress)?;
        }
        fs::remove_dir_all(&archives).map_err(Error::file(&archives, "removed"))
    }
}

/// The folder below `usr/lib` that holds this machine's libraries: `x86_64-linux-gnu`.
#[must_use]
pub fn multiarch(host: &str) -> String {
    host.replace("-unknown-", "-")
}

/// Whether a program is there and says so.
#[must_use]
pub fn answers(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

fn files_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files: Vec<_> =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "deb"));
    files.sort();
    Ok(files)
}
