//! Faults on purpose: the program dies or its disk fails at a named place, and its clock jumps.

use std::path::PathBuf;
use std::process::ExitStatus;

use crate::tapline::{Setup, Tapline};
use crate::wait::eventually;

impl Setup {
    /// With failpoints, which [`Tapline::arm`] arms.
    #[must_use]
    pub fn faulty(self) -> Self {
        // Below the directory that it is started in.
        self.env("TAPLINE_FAILPOINTS", "failpoints")
    }
}

impl Tapline {
    /// From now on `place` does so: `abort`, `abort N` after N passes, `disk-full`,
    /// `fsync-failed`.
    ///
    /// # Panics
    /// If the program has no failpoints.
    pub fn arm(&self, place: &str, what: &str) {
        assert!(
            self.stderr().contains("failpoints: those of"),
            "this program has no failpoints: `cargo xtask test` builds one that has, or `cargo \
             build --workspace --bin tapline`"
        );
        self.put(place, what);
    }

    /// From now on nothing is wrong at `place`.
    pub fn disarm(&self, place: &str) {
        std::fs::remove_file(self.failpoint(place)).expect("it is armed");
    }

    /// Lets the wall clock of this and later starts differ from the real one.
    pub fn shift_clock(&self, ms: i64) {
        self.put("clock", &ms.to_string());
    }

    fn put(&self, name: &str, text: &str) {
        let file = self.failpoint(name);
        let folder = file.parent().expect("a file lies in a folder");
        std::fs::create_dir_all(folder).expect("scratch is writable");
        // In one step: it may be read at any moment.
        let draft = file.with_extension("draft");
        std::fs::write(&draft, text).expect("scratch is writable");
        std::fs::rename(draft, file).expect("scratch is writable");
    }

    fn failpoint(&self, place: &str) -> PathBuf {
        self.dir().join("failpoints").join(place)
    }

    /// Whether it runs no more; how it ended.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        let child = self.child.as_mut().expect("it was started");
        let status = child.try_wait().expect("a child can be waited for")?;
        self.child = None;
        Some(status)
    }

    /// Claims that it died at `place` and nowhere else.
    pub async fn died_at(&mut self, place: &str) {
        let words = format!("dies at `{place}`");
        eventually(&words, || async {
            if self.stderr().contains(&words) { Ok(()) } else { Err("it has not") }
        })
        .await;
        if self.child.is_some() {
            assert!(!self.ended().await.success());
        }
    }
}
