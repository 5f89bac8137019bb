//! Debian's packages, unpacked into a private folder: nothing is installed, and root is
//! not needed.
//!
//! `apt-get download` checks each file against the signed package lists. Where the
//! machine's lists are empty and we may not fill them, lists of our own are fetched.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::step::Step;

/// Debian's packages as this machine's sources offer them.
pub(crate) struct Debian {
    /// Options that send apt to lists of our own; empty where it uses the machine's.
    options: Vec<String>,
}

impl Debian {
    /// Makes sure that `package` can be fetched, refreshing the lists if they lack it.
    /// `None` where this is no Debian or none of its sources has the package.
    pub(crate) fn with(package: &str, folder: &Path, step: &Step) -> Result<Option<Self>> {
        if !answers("apt-get", &["--version"]) || !answers("dpkg", &["--version"]) {
            return Ok(None);
        }
        let machine = Self { options: Vec::new() };
        if machine.depends(package).is_ok() {
            return Ok(Some(machine));
        }
        step.show("refreshing the package lists");
        if step.run(Command::new("apt-get").args(["-q", "update"])).is_ok() {
            return Ok(machine.depends(package).is_ok().then_some(machine));
        }
        let own = Self::own_lists(&folder.join("apt"))?;
        step.run(own.command("apt-get").args(["-q", "update"]))?;
        Ok(own.depends(package).is_ok().then_some(own))
    }

    /// Keeps state and cache below `folder`, so that a user who is not root can update.
    fn own_lists(folder: &Path) -> Result<Self> {
        let (state, cache) = (folder.join("state"), folder.join("cache"));
        fs::create_dir_all(state.join("lists/partial"))?;
        fs::create_dir_all(cache.join("archives/partial"))?;
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
    pub(crate) fn depends(&self, package: &str) -> Result<Vec<String>> {
        let output = self
            .command("apt-cache")
            .args(["depends", "--no-recommends", "--no-suggests", "--no-conflicts"])
            .args(["--no-breaks", "--no-replaces", "--no-enhances", package])
            .output()
            .context("cannot run `apt-cache`")?;
        if !output.status.success() || output.stdout.is_empty() {
            bail!("the package lists have no `{package}`");
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
    pub(crate) fn unpack(&self, packages: &[String], root: &Path, step: &Step) -> Result<()> {
        let archives = root.with_extension("archives");
        fs::create_dir_all(&archives)?;
        fs::create_dir_all(root)?;
        step.show(&format!("downloading {}", packages.join(", ")));
        step.run(
            self.command("apt-get").args(["-q", "download"]).args(packages).current_dir(&archives),
        )?;
        for archive in files_in(&archives)? {
            step.show(&format!("unpacking {}", archive.display()));
            step.run(Command::new("dpkg").arg("-x").arg(&archive).arg(root))?;
        }
        fs::remove_dir_all(&archives)?;
        Ok(())
    }
}

/// The folder below `usr/lib` that holds this machine's libraries: `x86_64-linux-gnu`.
pub(crate) fn multiarch(host: &str) -> String {
    host.replace("-unknown-", "-")
}

/// Whether a program is there and says so.
pub(crate) fn answers(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

fn files_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files: Vec<_> =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "deb"));
    files.sort();
    Ok(files)
}
