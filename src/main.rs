//! `gbg-proxy`: arguments in, exit code out.
//!
//! The allocator is the system's: glibc's measured better than mimalloc and jemalloc (docs/performance.md).

use std::process::ExitCode;

fn main() -> ExitCode {
    // One provider for both sides and for the token endpoint; it can only have been installed by ourselves.
    let _ = rustls::crypto::ring::default_provider().install_default();
    gbg_proxy::cli::main()
}
