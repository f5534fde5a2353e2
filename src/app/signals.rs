//! Signals: those that drain the process, reload its configuration and reopen its log file, and
//! those that have no effect.
//!
//! A signal that has no meaning here must not end the process, which is what the system does by
//! default: a `kill -USR2` that another program would understand cuts off what is in flight. The
//! default remains for signals that report a fault of the process (SIGSEGV, SIGABRT, SIGSYS and
//! their like), that enforce a limit of CPU time (SIGXCPU), or that stop it for a shell (SIGTSTP,
//! SIGTTIN, SIGTTOU). Rust ignores SIGPIPE.

use std::future::Future;
use std::io;

/// Listens for SIGTERM, SIGINT (ctrl-c), SIGQUIT and, on Linux, SIGPWR, with which LXC ends a
/// container. The returned future yields the name of the first one.
///
/// # Errors
/// When the runtime cannot listen for signals.
#[cfg(unix)]
pub fn signalled() -> io::Result<impl Future<Output = &'static str>> {
    let mut signals = Signals::listen(&[
        ("SIGTERM", libc::SIGTERM),
        ("SIGINT", libc::SIGINT),
        ("SIGQUIT", libc::SIGQUIT),
        #[cfg(target_os = "linux")]
        ("SIGPWR", libc::SIGPWR),
    ])?;
    Ok(async move { signals.next().await })
}

/// Waits for ctrl-c.
///
/// # Errors
/// None: the signature is that of Unix.
#[cfg(not(unix))]
pub fn signalled() -> io::Result<impl Future<Output = &'static str>> {
    Ok(async {
        match tokio::signal::ctrl_c().await {
            Ok(()) => "ctrl-c",
            Err(_) => std::future::pending().await,
        }
    })
}

/// Name of SIGXFSZ. The kernel sends it for each write beyond RLIMIT_FSIZE.
pub const FILE_SIZE_SIGNAL: &str = "SIGXFSZ";

/// A set of signals, with their names.
#[derive(Debug)]
pub struct Signals(#[cfg(unix)] Vec<(&'static str, tokio::signal::unix::Signal)>);

impl Signals {
    /// Listens for SIGHUP, which reloads the configuration.
    ///
    /// # Errors
    /// When the runtime cannot listen for signals.
    pub fn reload() -> io::Result<Self> {
        #[cfg(unix)]
        return Signals::listen(&[("SIGHUP", libc::SIGHUP)]);
        #[cfg(not(unix))]
        return Ok(Signals());
    }

    /// Listens for SIGUSR1 and SIGHUP, which reopen the log file.
    ///
    /// # Errors
    /// When the runtime cannot listen for signals.
    pub fn rotation() -> io::Result<Self> {
        #[cfg(unix)]
        return Signals::listen(&[("SIGUSR1", libc::SIGUSR1), ("SIGHUP", libc::SIGHUP)]);
        #[cfg(not(unix))]
        return Ok(Signals());
    }

    /// Listens for signals that have no meaning here and would end the process by default.
    /// Real-time signals are named `SIGRT`. A signal that cannot be listened for is left out:
    /// Valgrind reserves SIGRTMAX.
    pub fn stray() -> Self {
        #[cfg(target_os = "linux")]
        let linux = [("SIGSTKFLT", libc::SIGSTKFLT)]
            .into_iter()
            .chain((libc::SIGRTMIN()..=libc::SIGRTMAX()).map(|number| ("SIGRT", number)));
        #[cfg(all(unix, not(target_os = "linux")))]
        let linux = std::iter::empty::<(&'static str, libc::c_int)>();
        #[cfg(unix)]
        return Signals(
            [
                ("SIGUSR2", libc::SIGUSR2),
                ("SIGALRM", libc::SIGALRM),
                ("SIGVTALRM", libc::SIGVTALRM),
                ("SIGPROF", libc::SIGPROF),
                ("SIGIO", libc::SIGIO),
                // A write beyond RLIMIT_FSIZE then fails with EFBIG.
                (FILE_SIZE_SIGNAL, libc::SIGXFSZ),
            ]
            .into_iter()
            .chain(linux)
            .filter_map(|(name, number)| Some((name, listen_for(number).ok()?)))
            .collect(),
        );
        #[cfg(not(unix))]
        return Signals();
    }

    #[cfg(unix)]
    fn listen(signals: &[(&'static str, libc::c_int)]) -> io::Result<Self> {
        let signals = signals
            .iter()
            .map(|(name, number)| Ok((*name, listen_for(*number)?)));
        Ok(Signals(signals.collect::<io::Result<_>>()?))
    }

    /// Waits for a signal and returns its name.
    pub async fn next(&mut self) -> &'static str {
        #[cfg(unix)]
        return std::future::poll_fn(|cx| {
            use std::task::Poll;

            for (name, signal) in &mut self.0 {
                if let Poll::Ready(Some(())) = signal.poll_recv(cx) {
                    return Poll::Ready(*name);
                }
            }
            Poll::Pending
        })
        .await;
        #[cfg(not(unix))]
        std::future::pending().await
    }
}

#[cfg(unix)]
fn listen_for(number: libc::c_int) -> io::Result<tokio::signal::unix::Signal> {
    tokio::signal::unix::signal(tokio::signal::unix::SignalKind::from_raw(number))
}
