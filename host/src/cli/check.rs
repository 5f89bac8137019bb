//! `tapline check`, `init` and `schema`: nothing is started.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::{FINDING, REFUSED};
use crate::config::init::{Kind, init as write_site, schema_text};
use crate::config::{Look, Problem, Severity, render};
use crate::reload::{self, Options};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The site directory
    #[arg(default_value = ".")]
    site: PathBuf,
    /// A directory with modules (`*.wasm`) beside the site's own and those that ship
    #[arg(long, value_name = "DIR", env = "TAPLINE_MODULES")]
    modules: Option<PathBuf>,
    /// Check a document of POST /config together with the site
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum SchemaOf {
    Pipeline,
    Site,
    Devices,
}

pub(super) fn check(args: &Args) -> anyhow::Result<ExitCode> {
    if !args.site.is_dir() {
        let what = format!("`{}` is no directory", args.site.display());
        let remedy = "name a site directory; `tapline init DIR` writes one";
        return Ok(findings(&[Problem::of(&args.site, what, remedy)], &[]));
    }
    let scratch = tempfile::tempdir()?;
    let options = Options {
        site: Some(args.site.clone()),
        data: scratch.path().to_owned(),
        env: super::run::environment(),
        config_file: args.config.clone(),
        modules: args.modules.clone(),
    };
    let (problems, warnings, summary) = match reload::check(&options) {
        Ok(checked) => checked,
        Err(problems) => (problems, Vec::new(), String::new()),
    };
    if problems.is_empty() {
        println!("{summary}");
    }
    Ok(findings(&problems, &warnings))
}

fn findings(problems: &[Problem], warnings: &[Problem]) -> ExitCode {
    let look = if std::io::stderr().is_terminal() { Look::Colour } else { Look::Plain };
    eprint!("{}", render(warnings, Severity::Warning, look));
    eprint!("{}", render(problems, Severity::Error, look));
    match problems.len() {
        0 => ExitCode::SUCCESS,
        1 => {
            eprintln!("1 problem");
            ExitCode::from(FINDING)
        }
        n => {
            eprintln!("{n} problems");
            ExitCode::from(FINDING)
        }
    }
}

pub(super) fn init(dir: &Path) -> anyhow::Result<ExitCode> {
    match write_site(dir) {
        Ok(files) => {
            for file in files {
                println!("{}", file.display());
            }
            eprintln!("next: edit tapline.toml, then `tapline check {}`", dir.display());
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            eprintln!("error: {}", crate::telemetry::words(&error));
            eprintln!("help: name a directory that does not have these files");
            Ok(ExitCode::from(REFUSED))
        }
    }
}

pub(super) fn schema(file: SchemaOf) -> anyhow::Result<ExitCode> {
    let kind = match file {
        SchemaOf::Pipeline => Kind::Pipeline,
        SchemaOf::Site => Kind::Site,
        SchemaOf::Devices => Kind::Devices,
    };
    println!("{}", schema_text(kind).trim_end());
    Ok(ExitCode::SUCCESS)
}
