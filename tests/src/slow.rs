//! A machine that is ten times slower than it is.

use std::process::{Child, Command, Stdio};

/// Holds a process still for nine tenths of the time, until it is dropped.
pub struct Slow {
    process: u32,
    holding: Child,
}

impl Slow {
    /// # Panics
    /// If there is no shell.
    pub fn down(process: u32) -> Self {
        let script = format!(
            "while kill -STOP {process}; do sleep 0.09; kill -CONT {process}; sleep 0.01; done"
        );
        let mut shell = Command::new("sh");
        shell.args(["-c", &script]).stdin(Stdio::null()).stderr(Stdio::null());
        Self { process, holding: shell.spawn().expect("there is a shell") }
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        // What cannot be ended has ended.
        let _ended = self.holding.kill().and_then(|()| self.holding.wait());
        let go_on = format!("kill -CONT {}", self.process);
        let _gone = Command::new("sh").args(["-c", &go_on]).stderr(Stdio::null()).status();
    }
}
