//! What the system says of this process, and what it is asked for.

/// Bytes of memory that it holds; `None` where the system does not tell.
pub fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    resident_in(&status)
}

/// Nice value of a thread that works behind the others: half of the way to the lowest.
#[cfg(target_os = "linux")]
const BEHIND: libc::c_int = 10;

/// Lets all other threads have a processor before this one; for good, as only a privileged
/// process may take it back. Without effect where the system has no priorities of threads.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
pub fn let_others_go_first() {
    // SAFETY: takes plain numbers and touches no memory. On Linux, 0 means the calling thread.
    let failed = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, BEHIND) };
    if failed != 0 {
        let error = std::io::Error::last_os_error();
        tracing::debug!(event = "priority_not_lowered", %error, "a thread keeps its priority");
    }
}

/// Lets all other threads have a processor before this one; without effect on this system.
#[cfg(not(target_os = "linux"))]
pub fn let_others_go_first() {}

/// Gives memory back to the system that is free and lies between what is used. A document of a
/// hundred thousand devices leaves hundreds of megabytes of it behind, which glibc keeps.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code)]
pub fn give_memory_back() {
    let begun = std::time::Instant::now();
    // SAFETY: takes a plain number; glibc locks what it looks at.
    unsafe { libc::malloc_trim(0) };
    tracing::debug!(
        event = "memory_given_back",
        took_us = begun.elapsed().as_micros(),
        resident = resident(),
        "memory that is free is the system's again"
    );
}

/// Without effect where the system's library does that by itself.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn give_memory_back() {}

fn resident_in(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_linux_says() {
        assert_eq!(resident_in("Name:\ttapline\nVmRSS:\t   52340 kB\n"), Some(53_596_160));
        assert_eq!(resident_in("Name:\ttapline\n"), None);
    }
}
