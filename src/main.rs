//! `gbg-proxy`: arguments in, exit code out.

use std::process::ExitCode;

/// Gives memory back to the system when a burst is over, which glibc's does not
/// (docs/performance.md).
#[cfg(all(feature = "jemalloc", target_os = "linux", target_env = "gnu"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // One provider for both sides and for the token endpoint; it can only have been installed by
    // ourselves.
    let _ = rustls::crypto::ring::default_provider().install_default();
    gbg_proxy::cli::main()
}
