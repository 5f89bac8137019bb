//! A real broker in a directory of its own, on a port that it keeps over restarts.

use std::path::Path;
use std::process::Stdio;

use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::places::{free_port, mosquitto};
use crate::wait::eventually;

/// A running Mosquitto; it ends when this is dropped, and shows its log if the test fails.
pub struct Mosquitto {
    dir: TempDir,
    port: u16,
    second_port: u16,
    child: Option<Child>,
}

impl Mosquitto {
    /// Lets everyone in, keeps sessions and retained messages over a restart, and drops nothing
    /// that is queued: the defaults drop after 1000 messages.
    pub async fn start() -> Self {
        let config = "listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n";
        Self::with(config, &[]).await
    }

    /// With a configuration of its own. In its text `{port}`, `{second_port}` and `{dir}` are
    /// replaced; `files` are written into the directory first.
    pub async fn with(config: &str, files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("a scratch directory can be made");
        let (port, second_port) = (free_port(), free_port());
        let place = dir.path().display().to_string();
        // `user` counts only where the test runs as root, and then the directory is root's.
        let common = "user root\npersistence true\npersistence_location {dir}/\n\
                      log_dest file {dir}/mosquitto.log\nlog_type all\n";
        let text = format!("{common}{config}")
            .replace("{port}", &port.to_string())
            .replace("{second_port}", &second_port.to_string())
            .replace("{dir}", &place);
        for (name, content) in files.iter().copied().chain([("mosquitto.conf", text.as_str())]) {
            std::fs::write(dir.path().join(name), content).expect("scratch is writable");
        }
        let mut broker = Self { dir, port, second_port, child: None };
        broker.start_again().await;
        broker
    }

    /// The port of `{port}`.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The port of `{second_port}`, for a second listener.
    pub fn second_port(&self) -> u16 {
        self.second_port
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("mosquitto.log")).unwrap_or_default()
    }

    /// Ends it as a shutdown does: it writes down sessions and what is queued for them.
    pub async fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        if let Some(id) = child.id() {
            terminate(id).await;
        }
        child.wait().await.expect("a child can be waited for");
    }

    /// Ends it as a power cut does: what it had not written down is gone.
    pub async fn kill(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        child.kill().await.expect("a child can be killed");
    }

    /// Holds it still: its connections stay, and nothing comes through them any more.
    pub async fn freeze(&self) {
        self.signal("STOP").await;
    }

    /// Lets it go on.
    pub async fn thaw(&self) {
        self.signal("CONT").await;
    }

    async fn signal(&self, name: &str) {
        let id = self.child.as_ref().and_then(Child::id).expect("it runs");
        signal(name, id).await;
    }

    /// Starts it again where it was.
    pub async fn start_again(&mut self) {
        let child = Command::new(mosquitto())
            .arg("-c")
            .arg(self.dir.path().join("mosquitto.conf"))
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(self.dir.path().join("stderr")).expect("writable"))
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("mosquitto does not start: {error}"));
        self.child = Some(child);
        let port = self.port;
        eventually("mosquitto listens", || TcpStream::connect(("127.0.0.1", port))).await;
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let stderr = std::fs::read_to_string(self.dir.path().join("stderr"));
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            let last = lines[lines.len().saturating_sub(40)..].join("\n");
            eprintln!("---- mosquitto on {}\n{}{last}", self.port, stderr.unwrap_or_default());
        }
    }
}

/// Asks a process to end.
pub(crate) async fn terminate(id: u32) {
    signal("TERM", id).await;
}

async fn signal(name: &str, id: u32) {
    let told = Command::new("sh").arg("-c").arg(format!("kill -{name} {id}")).status().await;
    assert!(told.is_ok_and(|status| status.success()), "process {id} does not take {name}");
}
