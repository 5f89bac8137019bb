//! `tapline backup`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::REFUSED;
use crate::backup::{BackupError, Gathered, Wanted, gather};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The archive to write, a tar file; compressed if its name ends in `.gz` or `.tgz`.
    /// `-`: standard output
    file: PathBuf,
    /// The site directory, if there is one
    #[arg(long, value_name = "DIR", env = "TAPLINE_SITE")]
    site: Option<PathBuf>,
    /// The data directory
    #[arg(long, value_name = "DIR", env = "TAPLINE_DATA", default_value = "tapline-data")]
    data: PathBuf,
    /// Take secrets along: the archive is then a secret itself
    #[arg(long)]
    with_secrets: bool,
}

pub(super) fn backup(args: &Args) -> anyhow::Result<ExitCode> {
    match make(args) {
        Ok(gathered) => {
            tell(&gathered);
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => Ok(refused(&error)),
    }
}

/// Says once what kept it from being done.
pub(super) fn refused(error: &BackupError) -> ExitCode {
    eprintln!("error: {}", crate::telemetry::words(error));
    ExitCode::from(REFUSED)
}

fn make(args: &Args) -> Result<Gathered, BackupError> {
    let to_stdout = args.file.as_os_str() == "-";
    let scratch = if to_stdout { std::env::temp_dir() } else { folder_of(&args.file) };
    let gathered = gather(&Wanted {
        data: &args.data,
        site: args.site.as_deref(),
        with_secrets: args.with_secrets,
        scratch: &scratch,
        archive: (!to_stdout).then_some(args.file.as_path()),
    })?;
    if to_stdout {
        gathered.write(std::io::stdout().lock())?;
    } else {
        write_file(&args.file, |out| gathered.write(out))?;
    }
    Ok(gathered)
}

/// The folder of a file that may be a bare name.
pub(super) fn folder_of(file: &Path) -> PathBuf {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new(".")).to_owned()
}

/// Writes a file for its owner alone, under its name only once it is whole.
pub(super) fn write_file(
    file: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<(), BackupError>,
) -> Result<(), BackupError> {
    let failed = |source| BackupError::File { path: file.to_owned(), source };
    let folder = folder_of(file);
    let mut target = tempfile::Builder::new()
        .prefix(".tapline-archive-")
        .tempfile_in(&folder)
        .map_err(failed)?;
    let is_compressed = matches!(file.extension().and_then(|e| e.to_str()), Some("gz" | "tgz"));
    if is_compressed {
        let mut packer = flate2::write::GzEncoder::new(&mut target, flate2::Compression::default());
        write(&mut packer)?;
        packer.finish().map_err(failed)?;
    } else {
        write(&mut target)?;
    }
    target.as_file().sync_all().map_err(failed)?;
    target.persist(file).map_err(|error| failed(error.error))?;
    std::fs::File::open(&folder).and_then(|folder| folder.sync_all()).map_err(failed)
}

fn tell(gathered: &Gathered) {
    let manifest = &gathered.manifest;
    let bytes: u64 = manifest.files.iter().map(|file| file.size).sum();
    eprintln!("{} file(s), {}", manifest.files.len(), bytesize::ByteSize(bytes));
    for left in &manifest.left_out {
        eprintln!("not in it: {} ({})", left.what, left.why);
    }
    if manifest.with_secrets {
        eprintln!("it holds secrets: keep it as one");
    }
}
