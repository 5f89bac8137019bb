//! `tapline check`, `init` and `schema`: nothing is started.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;

use super::{FINDING, REFUSED};
use crate::config::init::{Kind, init as write_site, schema_text};
use crate::config::{Look, Place, Problem, report};
use crate::reload::{self, Findings, Options};

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
    /// One JSON object a problem on stdout, for programs
    #[arg(long)]
    json: bool,
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
        let problems = vec![Problem::of(&args.site, what, remedy)];
        return Ok(told(&Findings { problems, ..Findings::default() }, args.json));
    }
    let scratch = tempfile::tempdir()?;
    let options = Options {
        site: Some(args.site.clone()),
        data: scratch.path().to_owned(),
        env: super::run::environment(),
        config_file: args.config.clone(),
        modules: args.modules.clone(),
    };
    Ok(told(&reload::check(&options), args.json))
}

fn told(found: &Findings, json: bool) -> ExitCode {
    if json {
        let warnings = found.warnings.iter().map(|problem| object(problem, "warning"));
        for object in warnings.chain(found.problems.iter().map(|p| object(p, "error"))) {
            println!("{object}");
        }
    } else {
        if found.problems.is_empty() {
            println!("{}", found.summary);
        }
        if !(found.problems.is_empty() && found.warnings.is_empty()) {
            eprint!("{}", report(&found.problems, &found.warnings, look()));
        }
    }
    if found.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(FINDING) }
}

/// Colours for a terminal that shows them and a person who wants them (no-color.org).
fn look() -> Look {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    if std::io::stderr().is_terminal() && !is_set("NO_COLOR") && !is_dumb {
        Look::Colour
    } else {
        Look::Plain
    }
}

/// A problem for programs; what is not known is `null`.
fn object(problem: &Problem, severity: &str) -> serde_json::Value {
    let place = problem.place.as_ref();
    let position = place.filter(|place| !place.text.is_empty()).map(Place::line_and_column);
    let origin = problem.origin.as_ref().map(|origin| origin.display().to_string());
    json!({
        "severity": severity,
        "file": place.map(|place| place.file.to_string()).or(origin),
        "line": position.map(|(line, _)| line),
        "column": position.map(|(_, column)| column),
        "path": place.map(|place| place.path.to_string()),
        "problem": problem.what,
        "remedy": problem.remedy,
    })
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
