//! `gbg-proxy`: arguments in, exit code out.

use std::process::ExitCode;

/// Measured against the system's allocator: see docs/performance.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // One provider for both sides and for the token endpoint; it can only have been installed by ourselves.
    let _ = rustls::crypto::ring::default_provider().install_default();
    gbg_proxy::cli::main()
}
