//! Protection of the process's memory, which holds secrets, tokens and identity documents: no core
//! dump, and no other process of the same user may read it.

/// Forbids core dumps and, on Linux, ptrace and `/proc/PID/mem` to other processes of the same
/// user. Done before anything is read: what cannot be forbidden is logged later, once there is a
/// log.
pub(super) fn protect() -> Vec<String> {
    let mut failed = Vec::new();
    #[cfg(unix)]
    if let Err(error) = rlimit::setrlimit(rlimit::Resource::CORE, 0, 0) {
        failed.push(format!(
            "could not set RLIMIT_CORE to 0: a crash may write secrets to disk: {error}"
        ));
    }
    // RLIMIT_CORE does not count where the system gives core dumps to a program.
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
