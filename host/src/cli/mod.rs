//! The command line: what each command is called, what it takes, and which part answers it.
//!
//! Results go to stdout, talk to stderr. Exit codes: 0 fine, 1 finding, 2 usage, 3 not
//! reachable, 4 refused.

mod backup;
mod build;
mod check;
mod config;
mod dead_letters;
mod dev;
mod devices;
mod explain;
mod health;
mod history;
mod inspect;
mod new;
mod record;
mod reload;
mod remote;
mod replay;
mod restore;
mod resume;
mod run;
mod sessions;
mod shadow;
mod simulate;
mod sinks;
mod status;
mod support;
mod table;
mod tap;
mod test;
mod test_module;
mod token;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

/// Routes MQTT messages through pipelines of sandboxed WebAssembly modules.
#[derive(Debug, Parser)]
#[command(name = "tapline", version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a small project of a module, to begin with
    New(new::Args),
    /// Build a module's project into a component
    Build(build::Args),
    /// Build a module's project on every save, run it, and show what live messages become
    Dev(dev::Args),
    /// Run: connect brokers, run pipelines, deliver, serve the API
    Run(run::Args),
    /// Check a site's files without starting anything
    Check(check::Args),
    /// Write a commented site into a directory
    Init {
        /// The directory; it is made if it is missing, and nothing in it is overwritten
        dir: PathBuf,
    },
    /// Print the JSON Schema of a kind of file, for editors
    Schema {
        /// Which file: the pipelines, the site file `tapline.toml`, or devices
        #[arg(value_enum)]
        file: check::SchemaOf,
    },
    /// Show the main job at work, with simulated machines and a stand-in for Odoo
    Demo(crate::demo::Args),
    /// Ask a running Tapline how it is; for container health checks
    Health(health::Args),
    /// Show the sinks and what waits in each, or end a sink's pause
    Sinks(sinks::Args),
    /// Show what is configured and where from, what was changed, and go back
    Config(config::Args),
    /// Show what runs: brokers, pipelines, sinks, modules, and what went wrong last
    Status(status::Args),
    /// Write down what a running pipeline gets, or what a broker sends, to replay it
    Record(record::Args),
    /// Show what a pipeline makes of recorded messages, in virtual time
    Replay(replay::Args),
    /// Show what a module's file is, and whether it passes its own samples
    Inspect(inspect::Args),
    /// Test a module by its samples, or pipelines: compare what comes out with what is expected
    Test(test::Args),
    /// Let a pipeline that halts go on
    Resume(resume::Args),
    /// Show what was set aside, send it on its way again, or throw it away
    DeadLetters(dead_letters::Args),
    /// Show messages that came and went, the newest first
    History(history::Args),
    /// Show devices: last seen, last values, state; or topics that belong to none
    Devices(devices::Args),
    /// Show the sessions that run
    Sessions(sessions::Args),
    /// Say why a topic reaches a sink, or at which filter, label or rule it ends
    Explain(explain::Args),
    /// Show how a new version of a module compares on live traffic, promote it or drop it
    Shadow(shadow::Args),
    /// Watch what passes through a pipeline, as JSON lines
    Tap(tap::Args),
    /// Show what changed files would change, or take them up
    Reload(reload::Args),
    /// Publish what real devices would, for trying things out
    Simulate(crate::simulate::Args),
    /// Write the whole box into one file, while it runs or while it does not
    Backup(backup::Args),
    /// Put a box in place from its backup
    Restore(restore::Args),
    /// Gather what helps to find out what is wrong, without secrets, in one file
    Support(support::Args),
    /// Make a token of the API with less than all rights
    Token(token::Args),
    /// Print completions for a shell
    Completions {
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
}

/// A finding: something is wrong with what was looked at.
pub(crate) const FINDING: u8 = 1;
/// What the command speaks to does not answer.
pub(crate) const NOT_REACHABLE: u8 = 3;
/// What the command asked for was refused.
pub(crate) const REFUSED: u8 = 4;

impl Cli {
    /// Does what the command line says.
    ///
    /// # Errors
    /// Whatever ended the command, for `main` to print once.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::New(args) => new::new(&args),
            Command::Build(args) => build::build(&args),
            Command::Dev(args) => dev::dev(&args),
            Command::Run(args) => run::run(&args),
            Command::Check(args) => check::check(&args),
            Command::Init { dir } => check::init(&dir),
            Command::Schema { file } => check::schema(file),
            Command::Demo(args) => crate::demo::run(&args),
            Command::Health(args) => health::health(&args),
            Command::Sinks(args) => sinks::sinks(&args),
            Command::Config(args) => config::config(&args),
            Command::Status(args) => status::status(&args),
            Command::Record(args) => record::record(&args),
            Command::Replay(args) => replay::replay(args),
            Command::Inspect(args) => inspect::inspect(&args),
            Command::Test(args) => test::test(&args),
            Command::Resume(args) => resume::resume(&args),
            Command::DeadLetters(args) => dead_letters::dead_letters(&args),
            Command::History(args) => history::history(&args),
            Command::Devices(args) => devices::devices(&args),
            Command::Sessions(args) => sessions::sessions(&args),
            Command::Explain(args) => explain::explain(&args),
            Command::Shadow(args) => shadow::shadow(&args),
            Command::Tap(args) => tap::tap(&args),
            Command::Reload(args) => reload::reload(&args),
            Command::Simulate(args) => simulate::simulate(args),
            Command::Backup(args) => backup::backup(&args),
            Command::Restore(args) => restore::restore(&args),
            Command::Support(args) => support::support(&args),
            Command::Token(args) => Ok(token::token(&args)),
            Command::Completions { shell } => {
                let mut command = Self::command();
                clap_complete::generate(shell, &mut command, "tapline", &mut std::io::stdout());
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}
