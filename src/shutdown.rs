//! The signals that end the process, and the one that has it read its configuration again.

use std::future::Future;
use std::io;

/// Listens from now on for SIGTERM, SIGINT (ctrl-c) and SIGQUIT; what it gives waits for one, and gives its name.
///
/// # Errors
/// When the runtime cannot listen for signals.
#[cfg(unix)]
pub fn signalled() -> io::Result<impl Future<Output = &'static str>> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut quit = signal(SignalKind::quit())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
            _ = quit.recv() => "SIGQUIT",
        }
    })
}

/// Waits for ctrl-c.
///
/// # Errors
/// None: it is as on Unix.
#[cfg(not(unix))]
pub fn signalled() -> io::Result<impl Future<Output = &'static str>> {
    Ok(async {
        match tokio::signal::ctrl_c().await {
            Ok(()) => "ctrl-c",
            Err(_) => std::future::pending().await,
        }
    })
}

/// Listens for SIGHUP.
#[derive(Debug)]
pub struct Hangup(#[cfg(unix)] tokio::signal::unix::Signal);

impl Hangup {
    /// Listens from now on.
    ///
    /// # Errors
    /// When the runtime cannot listen for signals.
    pub fn listen() -> io::Result<Self> {
        #[cfg(unix)]
        return tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).map(Hangup);
        #[cfg(not(unix))]
        return Ok(Hangup());
    }

    /// Waits for one.
    pub async fn heard(&mut self) {
        #[cfg(unix)]
        if self.0.recv().await.is_some() {
            return;
        }
        std::future::pending().await
    }
}
