//! `tapline restore`.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;

use super::backup::refused;
use crate::backup::{BackupError, Checked, Target, Who, check};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The archive that `tapline backup` wrote; `-`: standard input
    file: PathBuf,
    /// The site directory to fill
    #[arg(long, value_name = "DIR", env = "TAPLINE_SITE")]
    site: Option<PathBuf>,
    /// The data directory to fill
    #[arg(long, value_name = "DIR", env = "TAPLINE_DATA", default_value = "tapline-data")]
    data: PathBuf,
    /// The old box is gone: take over its session at the broker, with what waits there. Without
    /// it the restored box is a client of its own
    #[arg(long = "move", visible_alias = "same-client-id")]
    same: bool,
    /// Move aside what is in the directories already
    #[arg(long)]
    force: bool,
}

pub(super) fn restore(args: &Args) -> anyhow::Result<ExitCode> {
    match put(args) {
        Ok((checked, aside)) => {
            tell(args, &checked, &aside);
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => Ok(refused(&error)),
    }
}

fn put(args: &Args) -> Result<(Checked, Vec<PathBuf>), BackupError> {
    let archive: Box<dyn Read> = if args.file.as_os_str() == "-" {
        Box::new(std::io::stdin().lock())
    } else {
        let failed = |source| BackupError::File { path: args.file.clone(), source };
        Box::new(File::open(&args.file).map_err(failed)?)
    };
    let failed = |source| BackupError::File { path: args.data.clone(), source };
    // Where there must be room for it anyway.
    std::fs::create_dir_all(&args.data).map_err(failed)?;
    let checked = check(archive, &args.data)?;
    let target = Target { data: &args.data, site: args.site.as_deref(), force: args.force };
    let who = if args.same { Who::Same } else { Who::Copy };
    let aside = checked.put(&target, who)?;
    Ok((checked, aside))
}

fn tell(args: &Args, checked: &Checked, aside: &[PathBuf]) {
    let manifest = &checked.manifest;
    eprintln!(
        "{} file(s) of {}, made by Tapline {}",
        manifest.files.len(),
        manifest.made_at,
        manifest.version
    );
    for folder in aside {
        eprintln!("what was there before is in {}", folder.display());
    }
    for left in &manifest.left_out {
        eprintln!("bring along: {} ({})", left.what, left.why);
    }
    if args.same {
        eprintln!("it is the same client at the broker: the old box must not start again");
    } else {
        eprintln!("it is a client of its own at the broker, beside the box that it comes from");
    }
}
