//! Places at which end-to-end tests let this process die or its disk fail.
//!
//! Only the feature `testing` has them; in a release each is an empty function. A test arms a
//! place by a file of its name in the directory that `TAPLINE_FAILPOINTS` names: `abort`,
//! `abort N` (the next N passes go well), `disk-full` or `fsync-failed`. The first two take
//! their file with them, so that the next process lives; the others hold while it is there.

/// What fails instead of the process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    DiskFull,
    FsyncFailed,
}

/// Dies here if a test says so.
#[inline]
pub fn pass(place: &str) {
    let _only_the_store_fails = failure(place);
}

/// What is to fail here; dies if that is what a test says.
#[cfg(not(feature = "testing"))]
#[inline]
pub fn failure(_place: &str) -> Option<Failure> {
    None
}

/// What is to fail here; dies if that is what a test says.
#[cfg(feature = "testing")]
pub fn failure(place: &str) -> Option<Failure> {
    armed::failure(place)
}

/// What the wall clock says, in milliseconds, or what a test lets it say.
#[cfg(not(feature = "testing"))]
#[inline]
pub(super) fn shifted(ms: u64) -> u64 {
    ms
}

/// What the wall clock says, in milliseconds, or what a test lets it say: the file `clock` in
/// the same directory holds the difference.
#[cfg(feature = "testing")]
pub(super) fn shifted(ms: u64) -> u64 {
    ms.saturating_add_signed(armed::clock_difference().unwrap_or(0))
}

#[cfg(feature = "testing")]
mod armed {
    use std::path::PathBuf;
    use std::sync::{Mutex, OnceLock, PoisonError};

    use super::Failure;

    /// One at a time, so that passes are counted right.
    static PASSING: Mutex<()> = Mutex::new(());

    fn directory() -> Option<&'static PathBuf> {
        static DIRECTORY: OnceLock<Option<PathBuf>> = OnceLock::new();
        let find = || {
            let dir = PathBuf::from(std::env::var_os("TAPLINE_FAILPOINTS")?);
            eprintln!("failpoints: those of `{}`", dir.display());
            Some(dir)
        };
        DIRECTORY.get_or_init(find).as_ref()
    }

    pub(super) fn clock_difference() -> Option<i64> {
        std::fs::read_to_string(directory()?.join("clock")).ok()?.parse().ok()
    }

    pub(super) fn failure(place: &str) -> Option<Failure> {
        let file = directory()?.join(place);
        let _one = PASSING.lock().unwrap_or_else(PoisonError::into_inner);
        let text = std::fs::read_to_string(&file).ok()?;
        let (what, passes) = text.split_once(' ').unwrap_or((&text, "0"));
        match what {
            "disk-full" => Some(Failure::DiskFull),
            "fsync-failed" => Some(Failure::FsyncFailed),
            "abort" => {
                match passes.parse::<u32>().map(|passes| passes.checked_sub(1)) {
                    Ok(Some(left)) => {
                        if let Err(error) = std::fs::write(&file, format!("abort {left}")) {
                            panic!("failpoint `{}` cannot be counted: {error}", file.display());
                        }
                        return None;
                    }
                    Ok(None) => {}
                    Err(error) => panic!("failpoint `{place}`: `{text}`: {error}"),
                }
                if let Err(error) = std::fs::remove_file(&file) {
                    panic!("failpoint `{}` cannot be disarmed: {error}", file.display());
                }
                eprintln!("failpoints: dies at `{place}`");
                std::process::abort();
            }
            // Just about to be written.
            "" => None,
            _ => panic!("failpoint `{place}` does not know `{text}`"),
        }
    }
}
