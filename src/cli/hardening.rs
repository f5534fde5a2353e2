//! Protection of the process memory, which holds secrets, tokens and identity documents, from core
//! dumps and from other processes of the same user.

/// Forbids core dumps and, on Linux, ptrace and `/proc/PID/mem` to other processes of the same
/// user. Returns warnings to log, since the log starts later.
pub(super) fn protect() -> Vec<String> {
    let mut failed = Vec::new();
    #[cfg(unix)]
    if let Err(error) = rlimit::setrlimit(rlimit::Resource::CORE, 0, 0) {
        failed.push(format!(
            "could not set RLIMIT_CORE to 0: a crash may write secrets to disk: {error}"
        ));
    }
    // RLIMIT_CORE has no effect where the kernel pipes core dumps to a program.
    #[cfg(target_os = "linux")]
    if let Err(error) =
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
    {
        failed.push(format!(
            "could not set PR_SET_DUMPABLE to 0: a crash may write secrets to disk: {error}"
        ));
    }
    failed
}
