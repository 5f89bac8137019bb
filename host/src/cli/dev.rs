//! `tapline dev`: build on every save, swap into the running Tapline, and show what live
//! messages become.
//!
//! `sources` says when something was saved, `trial` runs the samples, `live` shows messages.
//! Invariant: the running Tapline only ever sees whole files, and a build or a sample that fails
//! leaves it what it has.

mod live;
mod sources;
mod trial;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use sha2::{Digest as _, Sha256};
use tapline_kit::{Built, Error, Project};

use super::build::{Steps, tell};
use super::remote::{RemoteError, Target, finish};
use super::{FINDING, NOT_REACHABLE};
use crate::reload::{Reloaded, Status};
use live::Live;
use sources::Sources;
use trial::Trial;

/// For how long a running Tapline may take to say yes or no to a module.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks whether it has said so.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The project's folder
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// The site of the running Tapline; default: the one that it names itself
    #[arg(long, value_name = "DIR")]
    site: Option<PathBuf>,
    /// Show only messages of these topics
    #[arg(long, value_name = "FILTER")]
    topic: Option<String>,
    #[command(flatten)]
    target: Target,
}

pub(super) fn dev(args: &Args) -> anyhow::Result<ExitCode> {
    let project = match Project::read(&args.dir) {
        Ok(project) => project,
        Err(error) => {
            tell(&error);
            return Ok(ExitCode::from(FINDING));
        }
    };
    finish(work(args, project))
}

/// Ends by Ctrl-C, or where there is nothing to begin with.
fn work(args: &Args, project: Project) -> Result<ExitCode, RemoteError> {
    let status: Status = args.target.connect()?.get("/api/v1/status")?;
    let Some(site) = args.site.clone().or(status.site.map(PathBuf::from)) else {
        eprintln!("error: the running Tapline has no site, and so no folder for modules");
        eprintln!("help: start it with `tapline run --site SITE`; `tapline init SITE` writes one");
        return Ok(ExitCode::from(NOT_REACHABLE));
    };
    if !site.is_dir() {
        eprintln!("error: the site `{}` is no folder on this machine", site.display());
        eprintln!("help: name it with `--site DIR`");
        return Ok(ExitCode::from(FINDING));
    }
    let trial = match Trial::new(&args.target.data) {
        Ok(trial) => trial,
        Err(error) => {
            eprintln!("error: {}", crate::telemetry::words(&error));
            return Ok(ExitCode::from(FINDING));
        }
    };
    let root = project.root.clone();
    let file = site.join("modules").join(format!("{}.wasm", project.name));
    let mut sources = Sources::watch(&root);
    let live = Arc::new(Live::new(project.name.to_string(), args.topic.clone()));
    let target = args.target.clone();
    let mut work = Work { project, file, trial, live, target, told: false, silent: None };
    eprintln!("dev: {} goes to {}", root.display(), work.file.display());
    eprintln!("dev: Ctrl-C ends it; the site keeps the last version that was built");
    let mut saved = Instant::now();
    loop {
        let turned = work.turn(saved);
        work.heed(turned);
        while !sources.saved() {
            // A pipeline that uses the module may be written at any time.
            let joined = work.join();
            work.heed(joined);
        }
        saved = Instant::now();
    }
}

struct Work {
    project: Project,
    /// Where the site has the module.
    file: PathBuf,
    trial: Trial,
    live: Arc<Live>,
    /// Asked anew each time: while a build runs, Tapline closes a connection that says nothing.
    target: Target,
    /// It was said that no pipeline uses the module.
    told: bool,
    /// Why the running Tapline did not answer the last time.
    silent: Option<String>,
}

/// What a running Tapline says about a new version of a module.
enum Answer {
    Runs,
    /// No stage uses it.
    Unused,
    Refused(Vec<String>),
    Silent,
}

impl Work {
    /// Says once that the running Tapline does not answer: it may be starting anew.
    fn heed(&mut self, answered: Result<(), RemoteError>) {
        let why = answered.err().map(|error| error.to_string());
        if let Some(why) = why.as_ref().filter(|_| why != self.silent) {
            eprintln!("dev: {why}; asking again");
        }
        self.silent = why;
    }

    /// Builds what was saved, runs its samples and has it taken up.
    fn turn(&mut self, saved: Instant) -> Result<(), RemoteError> {
        // The manifest may be what was saved.
        let built = Project::read(&self.project.root).and_then(|project| {
            self.project = project;
            self.build()
        });
        let installed = built.and_then(|bytes| {
            let passes = self.trial.passes(&self.project, &bytes);
            passes.then(|| self.install(&bytes)).transpose()
        });
        let hash = match installed {
            Ok(Some(hash)) => hash,
            stopped => {
                if let Err(error) = &stopped {
                    tell(error);
                }
                eprintln!("dev: what ran before runs on; waiting for the next save");
                return Ok(());
            }
        };
        self.live.expect_since(saved);
        match self.answer(&hash)? {
            Answer::Runs => {
                let took = saved.elapsed().as_secs_f64();
                eprintln!("dev: {} runs, {took:.1} s after the save", self.project.name);
            }
            Answer::Unused => {}
            Answer::Refused(problems) => {
                for problem in problems {
                    eprintln!("refused: {problem}");
                }
                eprintln!("dev: what ran before runs on; waiting for the next save");
            }
            Answer::Silent => {
                let seconds = PATIENCE.as_secs();
                eprintln!("dev: Tapline has neither taken it up nor refused it in {seconds} s");
                eprintln!("help: `tapline status` and its log say why");
            }
        }
        self.join()
    }

    /// Builds the component; its bytes.
    fn build(&self) -> Result<Vec<u8>, Error> {
        let mut steps = Steps::default();
        let built = tapline_kit::build(&self.project, &mut steps);
        steps.clear();
        let Built { file, warnings, .. } = built?;
        if !warnings.is_empty() {
            eprintln!("{}", warnings.trim_end());
        }
        std::fs::read(&file).map_err(|source| Error::File { path: file, doing: "read", source })
    }

    /// Puts a copy into the site, because links out of it are refused; its hash.
    fn install(&self, bytes: &[u8]) -> Result<String, Error> {
        tapline_kit::put(&self.file, bytes)?;
        Ok(Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect())
    }

    fn answer(&self, hash: &str) -> Result<Answer, RemoteError> {
        let until = Instant::now() + PATIENCE;
        loop {
            let said: Reloaded =
                self.target.connect()?.post("/api/v1/reload", &json!({"drop_state": false}))?;
            let stages = self.stages()?;
            // Tapline shows the first digits.
            if !stages.is_empty() && stages.iter().all(|(_, _, short)| hash.starts_with(short)) {
                return Ok(Answer::Runs);
            }
            let waiting = said.waiting.into_iter().map(|waiting| waiting.what);
            let problems: Vec<_> = said.broken.into_iter().chain(waiting).collect();
            if !problems.is_empty() {
                return Ok(Answer::Refused(problems));
            }
            if stages.is_empty() {
                return Ok(Answer::Unused);
            }
            if Instant::now() > until {
                return Ok(Answer::Silent);
            }
            thread::sleep(LOOK);
        }
    }

    /// The stages that run the module: pipeline, stage, and the hash of what they run.
    fn stages(&self) -> Result<Vec<(String, String, String)>, RemoteError> {
        let status: Status = self.target.connect()?.get("/api/v1/status")?;
        let name = self.project.name.as_str();
        let stages = status.pipelines.into_iter().flat_map(|pipeline| {
            let of = pipeline.pipeline;
            pipeline.stages.into_iter().filter_map(move |stage| {
                let is_it = stage.module.as_deref() == Some(name);
                is_it.then(|| (of.clone(), stage.stage, stage.hash.unwrap_or_default()))
            })
        });
        Ok(stages.collect())
    }

    /// Shows what each stage that runs the module makes of messages, from when it first does.
    fn join(&mut self) -> Result<(), RemoteError> {
        let stages = self.stages()?;
        if stages.is_empty() && !self.told {
            let name = &self.project.name;
            eprintln!("dev: no pipeline of the site uses `{name}` yet");
            eprintln!("help: add a stage with `module = \"{name}\"`; README.md has one");
            self.told = true;
        }
        for (pipeline, stage, _) in stages {
            self.live.show(&pipeline, &stage, &self.target);
        }
        Ok(())
    }
}

/// Whether a path is one that a build writes, or nobody's source.
fn is_made(path: &Path) -> bool {
    const MADE: [&str; 5] = ["Cargo.lock", "__pycache__", "dist", "node_modules", "target"];
    path.file_name()
        .and_then(|name| name.to_str())
        .is_none_or(|name| name.starts_with('.') || name.ends_with('~') || MADE.contains(&name))
}
