//! The signals that end the process.

use std::io;

/// Waits for SIGTERM, SIGINT (ctrl-c) or SIGQUIT, and gives its name.
///
/// # Errors
/// When the runtime cannot listen for signals.
#[cfg(unix)]
pub async fn signalled() -> io::Result<&'static str> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut quit = signal(SignalKind::quit())?;
    Ok(tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
        _ = quit.recv() => "SIGQUIT",
    })
}

/// Waits for ctrl-c.
///
/// # Errors
/// When the runtime cannot listen for it.
#[cfg(not(unix))]
pub async fn signalled() -> io::Result<&'static str> {
    tokio::signal::ctrl_c().await.map(|()| "ctrl-c")
}
