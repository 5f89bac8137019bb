//! `tapline test`: pipelines against what is expected of them. Modules are beside.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use super::FINDING;
use super::replay::Code;
use super::test_module;
use crate::config::{Look, Problem, Severity, render};
use crate::replay::cases::{Surroundings, Verdict, find};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A module's project or file, or a site directory with tests in
    /// pipelines/tests/PIPELINE[.CASE]
    #[arg(value_name = "DIR", default_value = ".")]
    site: PathBuf,
    /// Only tests whose name contains this
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Write down what comes out as what is expected; read the change before you keep it
    #[arg(long, visible_alias = "bless")]
    accept: bool,
    #[command(flatten)]
    code: Code,
}

pub(super) fn test(args: &Args) -> anyhow::Result<ExitCode> {
    if test_module::is_module(&args.site) {
        let options = test_module::Options {
            path: &args.site,
            only: args.only.as_deref(),
            accept: args.accept,
            compiled: args.code.compiled(),
        };
        return test_module::test(&options);
    }
    let look = if std::io::stderr().is_terminal() { Look::Colour } else { Look::Plain };
    if !args.site.is_dir() {
        let remedy = "name a module's project or file, or a site directory";
        let problem = Problem::of(&args.site, "there is no such file or directory", remedy);
        eprint!("{}", render(&[problem], Severity::Error, look));
        return Ok(ExitCode::from(FINDING));
    }
    let cases = match find(&args.site) {
        Ok(cases) => cases,
        Err(error) => {
            let folder = args.site.join("pipelines/tests");
            let what = format!("cannot be read: {error}");
            let problem = Problem::of(folder, what, "make it readable");
            eprint!("{}", render(&[problem], Severity::Error, look));
            return Ok(ExitCode::from(FINDING));
        }
    };
    let wanted = |name: &str| args.only.as_ref().is_none_or(|part| name.contains(part.as_str()));
    let cases: Vec<_> = cases.into_iter().filter(|case| wanted(&case.name)).collect();
    if cases.is_empty() {
        let folder = args.site.join("pipelines/tests");
        let remedy =
            "put input.jsonl and expected.jsonl into a folder there, named as the pipeline";
        let problem = Problem::of(folder, "there are no such tests", remedy);
        eprint!("{}", render(&[problem], Severity::Error, look));
        return Ok(ExitCode::from(FINDING));
    }
    let around = Surroundings {
        site: args.site.clone(),
        modules: args.code.modules.clone(),
        compiled: args.code.compiled(),
        env: super::run::environment(),
    };
    let mut failed = 0;
    for case in &cases {
        let name = &case.name;
        match case.run(&around, args.accept) {
            Verdict::Passed(items) => println!("ok      {name} ({items} items)"),
            Verdict::Written(items) => println!("written {name} ({items} items)"),
            Verdict::Differs(difference) => {
                failed += 1;
                let (missing, surplus) = (difference.missing, difference.surplus);
                println!("FAILED  {name}: {missing} lines missing, {surplus} too many");
                print!("{}", shown(&difference.text));
            }
            Verdict::Broken(why) => {
                failed += 1;
                println!("FAILED  {name}: it cannot be run");
                println!("{}", why.trim_end());
            }
        }
    }
    let passed = cases.len() - failed;
    println!("{passed} of {} tests passed", cases.len());
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(FINDING) })
}

/// A difference in its usual colours, where somebody looks at it.
pub(super) fn shown(text: &str) -> String {
    if !std::io::stdout().is_terminal() {
        return text.to_owned();
    }
    let line = |line: &str| match line.as_bytes().first() {
        Some(b'-') => format!("\u{1b}[31m{line}\u{1b}[0m\n"),
        Some(b'+') => format!("\u{1b}[32m{line}\u{1b}[0m\n"),
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}
