//! A data directory on a disk of a few mebibytes, which a test can fill.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::tapline::Tapline;

/// A file system in memory, in a mount namespace of its own: no root is needed where user
/// namespaces are allowed, nothing is left behind, and Tapline may come and go.
pub struct SmallDisk {
    holder: Child,
    data: PathBuf,
}

impl SmallDisk {
    /// Puts the data directory of `tapline`, which does not run yet, on a disk of this size.
    ///
    /// # Errors
    /// Why this machine does not allow it.
    pub fn below(tapline: &mut Tapline, mebibytes: u32) -> Result<Self, String> {
        let dir = tapline.dir().display().to_string();
        let data = tapline.data();
        let script = format!(
            "cp -a {data} {dir}/kept && mount -t tmpfs -o size={mebibytes}m small {data} && \
             cp -a {dir}/kept/. {data} && echo mounted && exec sleep infinity",
            data = data.display()
        );
        let mut holder = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("`unshare`: {error}"))?;
        let mut said = String::new();
        let stdout = holder.stdout.take().ok_or("no output")?;
        BufReader::new(stdout).read_line(&mut said).map_err(|error| error.to_string())?;
        if said.trim() != "mounted" {
            let output = holder.wait_with_output().map_err(|error| error.to_string())?;
            return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
        }
        let target = holder.id().to_string();
        let words = ["nsenter", "--target", &target, "--user", "--mount", "--preserve-credentials"];
        let mut wrapper: Vec<String> = words.map(str::to_owned).into();
        wrapper.push(format!("--wd={dir}"));
        tapline.start_by(wrapper);
        Ok(Self { holder, data })
    }

    /// Leaves no byte free.
    ///
    /// # Panics
    /// If there is no end to it.
    pub fn fill(&self) {
        let mut ballast = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.ballast())
            .expect("the disk is there");
        let block = [0; 4096];
        let full = (0..1 << 20).any(|_| ballast.write_all(&block).is_err());
        assert!(full, "the disk has no end");
    }

    /// Takes away what [`SmallDisk::fill`] put there.
    ///
    /// # Panics
    /// If it was not filled.
    pub fn clear(&self) {
        std::fs::remove_file(self.ballast()).expect("it was filled");
    }

    /// As it is seen from outside.
    fn ballast(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        let inside = self.data.strip_prefix("/").expect("an absolute path");
        root.join(inside).join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Gone already, if it cannot be ended.
        let _ended = self.holder.kill().and_then(|()| self.holder.wait());
    }
}
