//! The signals that end the process.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

/// Waits for SIGTERM, SIGINT (ctrl-c) or SIGQUIT, and gives its name.
///
/// # Errors
/// When the runtime cannot listen for signals.
pub async fn signalled() -> io::Result<&'static str> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut quit = signal(SignalKind::quit())?;
    Ok(tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
        _ = quit.recv() => "SIGQUIT",
    })
}
