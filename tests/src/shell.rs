//! A person at a shell: what they type, and what a program that goes on says meanwhile.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

use crate::places::{program, project, shipped_modules};
use crate::publisher::Publisher;
use crate::tapline::Tapline;
use crate::wait::eventually;

/// A program that is not optimised compiles an interpreter for minutes.
const COMPILING: Duration = Duration::from_secs(1200);

impl Tapline {
    /// A shell as an author has it, with the program in its path and what the running Tapline
    /// knows from its environment; and the compilers that the modules of this project were
    /// built with, so that nothing is fetched or compiled twice.
    pub fn shell(&self, script: &str) -> Command {
        let modules = shipped_modules();
        let target = modules.parent().expect("modules lie in the target directory");
        let folder = program().parent().expect("the program lies in a folder").to_owned();
        let mut path = folder.into_os_string();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        let like = self.command(&[]);
        let mut command = Command::new("sh");
        command
            .args(["-ec", script])
            .envs(like.as_std().get_envs().filter_map(|(name, value)| Some((name, value?))))
            .env("PATH", path)
            .env("TAPLINE_CACHE", target.join("tools"))
            .env("CARGO_TARGET_DIR", target.join("tmp/projects"))
            .current_dir(self.dir())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// What a script prints that ends well.
    ///
    /// # Panics
    /// With what it said, if it does not.
    pub async fn types(&self, script: &str) -> String {
        let output = self.shell(script).output().await.expect("there is a shell");
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}\n{stdout}{stderr}");
        stdout
    }
}

/// What a guide tells its reader to type, block by block.
///
/// # Panics
/// If it is not there.
pub fn typed_in(guide: &str) -> Vec<String> {
    let path = project().join("docs/guides").join(guide);
    let text = std::fs::read_to_string(path).expect("the guide is there");
    let blocks = text.split("```sh\n").skip(1);
    blocks.filter_map(|rest| Some(rest.split_once("```")?.0.to_owned())).collect()
}

/// A program that goes on until it is ended.
pub struct Talk {
    child: Child,
    /// What it says of itself.
    said: Lines<BufReader<ChildStderr>>,
    /// What it is there to show.
    shown: Lines<BufReader<ChildStdout>>,
}

impl Talk {
    /// # Panics
    /// If it cannot be started.
    pub fn start(command: &mut Command) -> Self {
        let piped = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().expect("the program can be run");
        let said = BufReader::new(child.stderr.take().expect("piped")).lines();
        let shown = BufReader::new(child.stdout.take().expect("piped")).lines();
        Self { child, said, shown }
    }

    /// Reads what it says until a line has these words; all that it said up to there.
    ///
    /// # Panics
    /// If it ends or falls silent before.
    pub async fn says(&mut self, words: &str) -> String {
        until(&mut self.said, words).await
    }

    /// Has a device report until the program shows what became of it, because it sees what comes
    /// after it began to watch; the line that shows it.
    ///
    /// # Panics
    /// If it never does.
    pub async fn shows(
        &mut self,
        devices: &Publisher,
        topic: &str,
        payload: &str,
        words: &str,
    ) -> String {
        let shown = tokio::sync::Mutex::new(&mut self.shown);
        eventually(words, || async {
            devices.send(topic, payload).await;
            let mut shown = shown.lock().await;
            let mut last = String::new();
            let wait = Duration::from_secs(1);
            while let Ok(Ok(Some(line))) = tokio::time::timeout(wait, shown.next_line()).await {
                if line.contains(words) {
                    return Ok(line);
                }
                last = line;
            }
            Err(last)
        })
        .await
    }

    /// Ends it.
    ///
    /// # Panics
    /// If it cannot be ended.
    pub async fn end(mut self) {
        self.child.kill().await.expect("a child can be killed");
    }
}

async fn until<R: AsyncRead + Unpin>(lines: &mut Lines<BufReader<R>>, words: &str) -> String {
    let mut all = String::new();
    let found = async {
        while let Some(line) = lines.next_line().await.expect("it can be read") {
            all.push_str(&line);
            all.push('\n');
            if line.contains(words) {
                return true;
            }
        }
        false
    };
    let found = tokio::time::timeout(COMPILING, found).await;
    assert!(matches!(found, Ok(true)), "`{words}` is not in ({found:?}):\n{all}");
    all
}
