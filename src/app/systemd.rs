//! systemd integration: state notifications and the watchdog (sd_notify(3)), and socket activation
//! (sd_listen_fds(3)). Without systemd's environment variables it does nothing.

use std::io;
use std::time::Duration;

use crate::downstream::Socket;

/// How often it is looked whether the status is another one.
const LOOK: Duration = Duration::from_secs(1);

/// How long a manager may take to be told something.
#[cfg(unix)]
const PATIENCE: Duration = Duration::from_secs(1);

/// Why the socket that was handed over is not used.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// There is more than one.
    #[error("{0} sockets were handed over (LISTEN_FDS), and one is served")]
    Many(usize),
    /// It is something else.
    #[error("what was handed over (LISTEN_FDS) is no TCP or Unix stream socket that listens")]
    Useless(#[source] Option<io::Error>),
    /// It has no address that could be told.
    #[error("the Unix socket that was handed over (LISTEN_FDS) has no absolute path")]
    Nameless,
}

impl SocketError {
    /// What to do about it.
    pub fn fix(&self) -> &'static str {
        match self {
            SocketError::Many(_) => "leave one ListenStream= in the socket unit",
            SocketError::Useless(_) => {
                "the socket unit needs ListenStream= and Accept=no, and nothing else that listens"
            }
            SocketError::Nameless => "write a path that begins with / in ListenStream=",
        }
    }
}

/// The socket that was handed over to this very process, if one was. To be called once, and before
/// any thread is started: the variables that tell of it are taken out of the environment.
///
/// # Errors
/// When what was handed over cannot be served.
#[cfg(unix)]
pub fn socket() -> Result<Option<Socket>, SocketError> {
    use crate::config::Address;

    // `listenfd` also takes what names no process: that may be a parent's.
    let is_ours =
        std::env::var("LISTEN_PID").is_ok_and(|pid| pid == std::process::id().to_string());
    if !is_ours {
        return Ok(None);
    }
    let mut handed = listenfd::ListenFd::from_env();
    match handed.len() {
        0 => return Ok(None),
        1 => {}
        many => return Err(SocketError::Many(many)),
    }
    let socket = match handed.take_tcp_listener(0) {
        Ok(socket) => socket.map(Socket::Tcp),
        Err(_) => handed
            .take_unix_listener(0)
            .map_err(|error| SocketError::Useless(Some(error)))?
            .map(Socket::Unix),
    };
    let Some(socket) = socket.filter(Socket::listens) else {
        return Err(SocketError::Useless(None));
    };
    match socket.address() {
        Ok(Address::Unix(path)) if !path.is_absolute() => Err(SocketError::Nameless),
        Ok(_) => Ok(Some(socket)),
        Err(error) => Err(SocketError::Useless(Some(error))),
    }
}

/// No socket: there are none elsewhere.
///
/// # Errors
/// None: it is as on Unix.
#[cfg(not(unix))]
pub fn socket() -> Result<Option<Socket>, SocketError> {
    Ok(None)
}

/// Says that requests are served, then how things are, `status` by `status`, for as long as it is
/// polled; and that the process lives, for as long as it is `alive` and that is asked for.
pub async fn attend<S, A, F>(status: S, alive: A)
where
    S: Fn() -> String,
    A: Fn() -> F,
    F: Future<Output = bool>,
{
    if !is_there() {
        return;
    }
    let tell_status = async {
        let mut told = status();
        tell(&["READY=1", &format!("STATUS={told}")]).await;
        loop {
            tokio::time::sleep(LOOK).await;
            let now = status();
            if now != told {
                tell(&[&format!("STATUS={now}")]).await;
                told = now;
            }
        }
    };
    let tell_life = async {
        let Some(patience) = watchdog() else { return };
        loop {
            let lives = alive().await;
            if lives {
                tell(&["WATCHDOG=1"]).await;
            }
            // Who was busy for a moment is asked again before the manager's patience is at its end.
            tokio::time::sleep(if lives {
                patience / 2
            } else {
                LOOK.min(patience / 8)
            })
            .await;
        }
    };
    tokio::join!(tell_status, tell_life);
}

/// Says that the configuration is being read again.
pub async fn reloading() {
    #[cfg(unix)]
    if is_there() {
        // With the clock, so that the manager knows this from an earlier one (systemd.service(5),
        // Type=notify-reload).
        let now = sd_notify::NotifyState::monotonic_usec_now()
            .map(|now| now.to_string())
            .unwrap_or_default();
        tell(&["RELOADING=1", now.trim_end()]).await;
    }
}

/// Says that it has been read.
pub async fn ready() {
    if is_there() {
        tell(&["READY=1"]).await;
    }
}

/// Says that the process is about to end.
pub async fn stopping() {
    if !is_there() {
        return;
    }
    tell(&["STOPPING=1", "STATUS=draining"]).await;
}

#[cfg(unix)]
fn is_there() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some_and(|name| !name.is_empty())
}

#[cfg(unix)]
fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

/// On a thread of its own: a manager that does not read must hold up no token.
#[cfg(unix)]
async fn tell(lines: &[&str]) {
    use crate::error::chain;

    let lines = lines.join("\n") + "\n";
    let told = tokio::task::spawn_blocking(move || send(&lines));
    let error = match tokio::time::timeout(PATIENCE, told).await {
        Ok(Ok(Err(error))) => error,
        Err(_) => io::ErrorKind::TimedOut.into(),
        Ok(_) => return,
    };
    tracing::warn!(
        error = chain(&error),
        "the service manager (NOTIFY_SOCKET) could not be told"
    );
}

/// Sends one datagram to `NOTIFY_SOCKET`. `sd_notify::notify` takes the `@` of an abstract socket,
/// which Podman and containers have, for the first character of a path.
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
fn is_there() -> bool {
    false
}

#[cfg(not(unix))]
fn watchdog() -> Option<Duration> {
    None
}

#[cfg(not(unix))]
async fn tell(_lines: &[&str]) {}
