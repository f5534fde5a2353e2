//! Counts the instructions of a program with callgrind, a tool of valgrind.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};

/// Whether valgrind can be run.
pub fn is_there() -> bool {
    let version = Command::new("valgrind")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    version.is_ok_and(|status| status.success())
}

/// Has each thread keep what it frees, for itself: how much of the rest of the heap is searched
/// depends on what the threads did at the same time, and made a twentieth of some steps.
const MALLOC: &str = "glibc.malloc.tcache_count=1000";

/// The binary has jemalloc. What that gives back to the system, and when, goes by the clock.
const JEMALLOC: &str = "background_thread:false,dirty_decay_ms:-1,muzzy_decay_ms:-1";

/// What runs `program`, and has its count in the file `out` when it has ended. It sees nothing of
/// this environment: what stands in it moves the stack, and what is aligned otherwise costs
/// otherwise.
pub fn counted(program: &Path, out: &Path) -> Command {
    let mut file = OsString::from("--callgrind-out-file=");
    file.push(out);
    let mut command = Command::new("valgrind");
    command
        .args(["--quiet", "--tool=callgrind"])
        .arg(file)
        .arg(program);
    let path = std::env::var_os("PATH").unwrap_or_default();
    command
        .env_clear()
        .env("PATH", path)
        .env("GLIBC_TUNABLES", MALLOC)
        .env("_RJEM_MALLOC_CONF", JEMALLOC);
    command
}

/// The count in the file `out`.
pub fn count(out: &Path) -> u64 {
    let text = std::fs::read_to_string(out).expect("what callgrind has counted");
    let count = text.lines().find_map(|line| line.strip_prefix("totals: "));
    count
        .and_then(|count| count.trim().parse().ok())
        .expect("a count")
}
