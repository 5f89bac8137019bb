//! `tapline new`: a module's project to begin with.

use std::path::PathBuf;
use std::process::ExitCode;

use tapline_kit::{Capture, Error, Language, Project, Role};

use super::REFUSED;
use super::build::tell;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What the module does
    #[arg(value_enum)]
    role: RoleName,
    /// Its name, and so the folder that is made: lower-case words with hyphens, `my-meter`
    name: PathBuf,
    /// What it is written in
    #[arg(long, value_enum, default_value_t = LanguageName::Rust)]
    language: LanguageName,
    /// Begin with these messages as samples: a capture, one message a line
    #[arg(long, value_name = "CAPTURE.jsonl")]
    from: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum RoleName {
    /// Turns messages into readings and events
    Parser,
    /// Follows each device through time
    Detector,
    /// Accepts or refuses messages before anything reads them
    Validator,
    /// Speaks to another system
    Sink,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum LanguageName {
    Rust,
    Python,
    #[value(name = "javascript")]
    JavaScript,
}

pub(super) fn new(args: &Args) -> anyhow::Result<ExitCode> {
    match write(args) {
        Ok(project) => {
            let root = project.root.display();
            println!("{root}");
            eprintln!("next: `tapline build {root}`, then `tapline test {root}`");
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            tell(&error);
            Ok(ExitCode::from(REFUSED))
        }
    }
}

fn write(args: &Args) -> Result<Project, Error> {
    let role = match args.role {
        RoleName::Parser => Role::Parser,
        RoleName::Detector => Role::Detector,
        RoleName::Validator => Role::Validator,
        RoleName::Sink => Role::Sink,
    };
    let language = match args.language {
        LanguageName::Rust => Language::Rust,
        LanguageName::Python => Language::Python,
        LanguageName::JavaScript => Language::JavaScript,
    };
    let (parent, name) = tapline_kit::place(&args.name)?;
    let capture = match &args.from {
        Some(_) if !role.takes_messages() => {
            return Err(Error::Missing {
                what: format!("a {role} gets no messages, so a capture is no sample of it"),
                remedy: "leave `--from` out; the template has samples to go on from".to_owned(),
            });
        }
        Some(path) => Some(Capture::read(path)?),
        None => None,
    };
    let project = tapline_kit::create(&parent, name, role, language, capture.as_ref())?;
    if let Some(capture) = capture {
        let (count, left_out) = (capture.count(), capture.left_out);
        eprintln!("samples: {count} messages, {left_out} more left out as repeated or too many");
        eprintln!(
            "help: `tapline test` shows what comes of them, `tapline test --accept` keeps it"
        );
    }
    Ok(project)
}
