//! Reading files that others put there: only what is a file, only so much of it, without
//! waiting.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The content of a file of at most `most` bytes.
///
/// # Errors
/// If it is no file (a pipe would never end, a folder has no content), larger, or cannot be
/// read.
pub(crate) fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    // To open a pipe waits for its other end unless told not to.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let about = file.metadata()?;
    if about.is_dir() {
        let what = "a folder stands in place of a file";
        return Err(io::Error::new(io::ErrorKind::IsADirectory, what));
    }
    if !about.is_file() {
        return Err(io::Error::other("it is a pipe, a socket or a device, not a file"));
    }
    let too_large = |size: u64| {
        let what = format!("it has {size} bytes, more than the {most} allowed");
        io::Error::new(io::ErrorKind::FileTooLarge, what)
    };
    if about.len() > most {
        return Err(too_large(about.len()));
    }
    let mut bytes = Vec::new();
    // It may grow meanwhile.
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    let size = bytes.len() as u64;
    if size > most { Err(too_large(size)) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_are_read_and_only_so_much() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(read(&path, 5).unwrap(), b"12345");
        assert!(read(&path, 4).unwrap_err().to_string().contains("has 5 bytes"));
        assert_eq!(read(dir.path(), 5).unwrap_err().kind(), io::ErrorKind::IsADirectory);
        let pipe = dir.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        assert!(read(&pipe, 5).unwrap_err().to_string().contains("pipe"));
        let sparse = dir.path().join("sparse");
        std::fs::File::create(&sparse).unwrap().set_len(1 << 30).unwrap();
        assert_eq!(read(&sparse, 5).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }
}
