//! systemd integration: state notifications and the watchdog (sd_notify(3)), and socket activation
//! (sd_listen_fds(3)). Without systemd's environment variables it does nothing.

use std::io;
use std::time::Duration;

use crate::downstream::Socket;

/// Interval of checks of the status line.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Timeout of a notification.
#[cfg(unix)]
const NOTIFY_TIMEOUT: Duration = Duration::from_secs(1);

/// Error of an inherited socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// There is more than one socket.
    #[error("LISTEN_FDS passes {0} sockets; the proxy serves only one")]
    Many(usize),
    /// It is not a listening TCP or Unix stream socket.
    #[error("the socket that LISTEN_FDS passes is not a listening TCP or Unix stream socket")]
    Useless(#[source] Option<io::Error>),
    /// Its address is not an absolute path.
    #[error("the Unix socket that LISTEN_FDS passes does not have an absolute path")]
    Nameless,
}

impl SocketError {
    /// The action that fixes it.
    pub fn fix(&self) -> &'static str {
        match self {
            SocketError::Many(_) => {
                "keep one ListenStream= in the socket unit, and remove the others"
            }
            SocketError::Useless(_) => {
                "set ListenStream= and Accept=no in the socket unit, and no other Listen option"
            }
            SocketError::Nameless => "set ListenStream= to a path that begins with /",
        }
    }
}

/// The socket that this process inherited, if any. Call it once, before the first thread starts: it
/// removes the variables from the environment.
///
/// # Errors
/// When the inherited socket cannot be served.
#[cfg(unix)]
pub(crate) fn inherited_socket() -> Result<Option<Socket>, SocketError> {
    use crate::config::Address;

    // `listenfd` also accepts sockets without LISTEN_PID, which may be meant for the parent.
    let is_own = std::env::var("LISTEN_PID").is_ok_and(|pid| pid == std::process::id().to_string());
    if !is_own {
        return Ok(None);
    }
    let mut inherited = listenfd::ListenFd::from_env();
    match inherited.len() {
        0 => return Ok(None),
        1 => {}
        many => return Err(SocketError::Many(many)),
    }
    let socket = match inherited.take_tcp_listener(0) {
        Ok(socket) => socket.map(Socket::Tcp),
        Err(_) => inherited
            .take_unix_listener(0)
            .map_err(|error| SocketError::Useless(Some(error)))?
            .map(Socket::Unix),
    };
    let Some(socket) = socket.filter(Socket::is_listening) else {
        return Err(SocketError::Useless(None));
    };
    match socket.address() {
        Ok(Address::Unix(path)) if !path.is_absolute() => Err(SocketError::Nameless),
        Ok(_) => Ok(Some(socket)),
        Err(error) => Err(SocketError::Useless(Some(error))),
    }
}

/// Always `None`.
///
/// # Errors
/// None: the signature is that of Unix.
#[cfg(not(unix))]
pub(crate) fn inherited_socket() -> Result<Option<Socket>, SocketError> {
    Ok(None)
}

/// Notifies systemd that the process is ready, and then of each change of `status`; feeds the
/// watchdog while the process is `alive`. Runs until it is dropped.
pub(crate) async fn notify_until_dropped<S, A, F>(status: S, alive: A)
where
    S: Fn() -> String,
    A: Fn() -> F,
    F: Future<Output = bool>,
{
    if !is_managed() {
        return;
    }
    let report_status = async {
        let mut reported = status();
        notify(&["READY=1", &format!("STATUS={reported}")]).await;
        loop {
            tokio::time::sleep(POLL_INTERVAL).await;
            let now = status();
            if now != reported {
                notify(&[&format!("STATUS={now}")]).await;
                reported = now;
            }
        }
    };
    let feed_watchdog = async {
        let Some(watchdog) = watchdog_timeout() else {
            return;
        };
        loop {
            let is_alive = alive().await;
            if is_alive {
                notify(&["WATCHDOG=1"]).await;
            }
            // A process that was busy for a moment is checked again before the watchdog expires.
            tokio::time::sleep(if is_alive {
                watchdog / 2
            } else {
                POLL_INTERVAL.min(watchdog / 8)
            })
            .await;
        }
    };
    tokio::join!(report_status, feed_watchdog);
}

/// Notifies systemd that a reload has started.
pub(crate) async fn notify_reloading() {
    #[cfg(unix)]
    if is_managed() {
        // With the time: systemd distinguishes this reload from earlier ones by it (systemd.service(5),
        // Type=notify-reload).
        let now = sd_notify::NotifyState::monotonic_usec_now()
            .map(|now| now.to_string())
            .unwrap_or_default();
        notify(&["RELOADING=1", now.trim_end()]).await;
    }
}

/// Notifies systemd that the process is ready.
pub(crate) async fn notify_ready() {
    if is_managed() {
        notify(&["READY=1"]).await;
    }
}

/// Notifies systemd that the process is shutting down.
pub(crate) async fn notify_stopping() {
    if is_managed() {
        notify(&["STOPPING=1", "STATUS=draining"]).await;
    }
}

#[cfg(unix)]
fn is_managed() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some_and(|name| !name.is_empty())
}

#[cfg(unix)]
fn watchdog_timeout() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

/// Sends the notification on a thread of its own: a service manager that does not read must not
/// delay the token task.
#[cfg(unix)]
async fn notify(lines: &[&str]) {
    use crate::error::chain;

    let lines = lines.join("\n") + "\n";
    let sent = tokio::task::spawn_blocking(move || send(&lines));
    let error = match tokio::time::timeout(NOTIFY_TIMEOUT, sent).await {
        Ok(Ok(Err(error))) => error,
        Err(_) => io::ErrorKind::TimedOut.into(),
        Ok(_) => return,
    };
    tracing::warn!(
        error = chain(&error),
        "failed to notify the service manager (NOTIFY_SOCKET)"
    );
}

/// Sends one datagram to `NOTIFY_SOCKET`. `sd_notify::notify` takes the `@` of an abstract socket,
/// as Podman uses it, for the first character of a path.
#[cfg(unix)]
fn send(lines: &str) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    let name = std::env::var_os("NOTIFY_SOCKET").unwrap_or_default();
    let address = match name.as_bytes() {
        #[cfg(target_os = "linux")]
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ if name.as_bytes().starts_with(b"vsock:") => {
            let message = "NOTIFY_SOCKET names a vsock, which is not supported";
            return Err(io::Error::new(io::ErrorKind::Unsupported, message));
        }
        _ => SocketAddr::from_pathname(&name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    match socket.send(lines.as_bytes())? {
        sent if sent == lines.len() => Ok(()),
        _ => Err(io::ErrorKind::WriteZero.into()),
    }
}

#[cfg(not(unix))]
fn is_managed() -> bool {
    false
}

#[cfg(not(unix))]
fn watchdog_timeout() -> Option<Duration> {
    None
}

#[cfg(not(unix))]
async fn notify(_lines: &[&str]) {}
