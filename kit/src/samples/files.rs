//! The folder `samples/` of a project.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::line::{self, From};
use super::sample::{Outcome, Sample};
use super::{MOST_BYTES, MOST_SAMPLES, SampleError};

/// The samples of a project.
#[derive(Clone, Debug, Default)]
pub struct Folder {
    /// By name; those without a sample, too.
    pub files: Vec<File>,
}

/// A file of samples.
#[derive(Clone, Debug)]
pub struct File {
    pub path: PathBuf,
    /// Its lines as they stand there, and what each says; empty ones say nothing.
    lines: Vec<(String, Option<Sample>)>,
}

/// Reads `samples/*.jsonl` of a project; a folder that is not there holds none.
///
/// # Errors
/// What is wrong with the first file or line that is.
pub fn read_folder(project: &Path) -> Result<Folder, SampleError> {
    let folder = project.join("samples");
    let unreadable =
        |path: &Path, source| SampleError::Unreadable { file: path.display().to_string(), source };
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Folder::default()),
        Err(error) => return Err(unreadable(&folder, error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(|error| unreadable(&folder, error))?.file_name();
        match name.into_string() {
            Ok(name) if name.ends_with(".jsonl") && !name.starts_with('.') => names.push(name),
            _ => {}
        }
    }
    names.sort();
    let (mut bytes, mut samples) = (0, 0);
    let mut files = Vec::new();
    for name in names {
        let path = folder.join(&name);
        let shown = format!("samples/{name}");
        let mut text = String::new();
        let most = MOST_BYTES as u64 + 1;
        fs::File::open(&path)
            .and_then(|file| file.take(most).read_to_string(&mut text))
            .map_err(|error| unreadable(&path, error))?;
        bytes += text.len();
        if bytes > MOST_BYTES {
            return Err(SampleError::TooLarge { file: shown });
        }
        let mut lines = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let place = format!("{shown}:{}", index + 1);
            if line.trim().is_empty() {
                lines.push((line.to_owned(), None));
                continue;
            }
            samples += 1;
            if samples > MOST_SAMPLES {
                return Err(SampleError::TooMany { place });
            }
            let sample = line::read(line.trim(), place, From::File)?;
            lines.push((line.to_owned(), Some(sample)));
        }
        files.push(File { path, lines });
    }
    Ok(Folder { files })
}

impl Folder {
    /// Every sample, in the order in which they travel.
    pub fn samples(&self) -> impl Iterator<Item = &Sample> {
        self.files.iter().flat_map(File::samples)
    }

    /// What travels: the samples that say what comes out, one a line, each with its place.
    #[must_use]
    pub fn text(&self) -> String {
        let lines = self.files.iter().flat_map(|file| &file.lines);
        let decided = lines.filter_map(|(line, sample)| Some((line, sample.as_ref()?)));
        let decided = decided.filter(|(_, sample)| !sample.is_open());
        decided.map(|(line, sample)| line::placed(line, &sample.place)).collect()
    }
}

impl File {
    /// Its samples in their order.
    pub fn samples(&self) -> impl Iterator<Item = &Sample> {
        self.lines.iter().filter_map(|(_, sample)| sample.as_ref())
    }

    /// Its text with what came out of each sample in place of what was expected of it; a line
    /// whose sample has `None` stays as it is.
    ///
    /// # Panics
    /// If there are not as many outcomes as samples.
    #[must_use]
    pub fn accepting(&self, outcomes: &[Option<Vec<Outcome>>]) -> String {
        let mut outcomes = outcomes.iter();
        let mut text = String::new();
        for (line, sample) in &self.lines {
            let outcome = sample.as_ref().and_then(|_| {
                outcomes.next().expect("the caller has one for each sample").as_deref()
            });
            match outcome {
                Some(outcome) => text.push_str(&line::with_outcomes(line, outcome)),
                None => text.push_str(line),
            }
            text.push('\n');
        }
        text
    }
}
