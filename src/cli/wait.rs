//! `gbg-proxy wait`: until a proxy is ready, for scripts and for the health check of a container.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::Args;

use super::{ConfigArguments, Failure};
use crate::config::{Address, parse_duration};

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(200);

/// The longest that one question takes.
const PATIENCE: Duration = Duration::from_secs(2);

/// The shortest, however little time is left: a proxy that is ready is seen as that.
const SHORTEST: Duration = Duration::from_millis(100);

/// The longest answer that is read.
const LONGEST: usize = 4096;

/// Wait until a proxy is ready
///
/// Asks /readyz at admin.address of the same configuration that the proxy has. Ready is a proxy
/// that has a usable token and is not about to end.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  gbg-proxy wait                   for up to 30 s
  gbg-proxy wait --timeout 2s      as the health check of a container
  gbg-proxy wait --config /etc/gbg-proxy/proxy.toml && start-the-callers")]
pub(super) struct Wait {
    #[command(flatten)]
    config: ConfigArguments,
    /// How long to wait, such as 500ms or 1m
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    timeout: Duration,
}

impl Wait {
    pub(super) fn run(self) -> Result<(), Failure> {
        let address = self.config.admin_address()?;
        let end = Instant::now() + self.timeout;
        loop {
            let limit = Instant::now()
                + PATIENCE
                    .min(end.saturating_duration_since(Instant::now()))
                    .max(SHORTEST);
            let why = match ask(&address, limit) {
                Ok(answer)
                    if answer.starts_with("HTTP/1.1 200 ")
                        || answer.starts_with("HTTP/1.0 200 ") =>
                {
                    return Ok(());
                }
                Ok(answer) => answer
                    .lines()
                    .last()
                    .unwrap_or("it answers nothing")
                    .to_owned(),
                Err(error) => format!("no proxy answers at {address}: {error}"),
            };
            if Instant::now() + PAUSE >= end {
                return Err(Failure::Failed(why));
            }
            sleep(PAUSE);
        }
    }
}

/// What is answered to a look at `/readyz` until `limit`.
fn ask(address: &Address, limit: Instant) -> io::Result<String> {
    match address {
        Address::Tcp(addr) => {
            let stream = TcpStream::connect_timeout(&reachable(*addr), left(limit)?)?;
            exchange(&stream, || stream.set_read_timeout(Some(left(limit)?)))
        }
        #[cfg(unix)]
        Address::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            exchange(&stream, || stream.set_read_timeout(Some(left(limit)?)))
        }
        #[cfg(not(unix))]
        Address::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
    }
}

fn left(limit: Instant) -> io::Result<Duration> {
    let left = limit.saturating_duration_since(Instant::now());
    if left.is_zero() {
        Err(io::ErrorKind::TimedOut.into())
    } else {
        Ok(left)
    }
}

/// A listener on all addresses is on this machine's own.
fn reachable(addr: SocketAddr) -> SocketAddr {
    let mut addr = addr;
    if addr.ip().is_unspecified() {
        addr.set_ip(match addr {
            SocketAddr::V4(_) => [127, 0, 0, 1].into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    addr
}

/// Asks, and reads the answer to its end; `limit_next` bounds each read, so that one who answers
/// byte by byte is not waited for without an end.
fn exchange(
    mut stream: impl Read + Write,
    limit_next: impl Fn() -> io::Result<()>,
) -> io::Result<String> {
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    let mut part = [0; LONGEST];
    while answer.len() < LONGEST {
        limit_next()?;
        match stream.read(&mut part)? {
            0 => break,
            read => answer.extend_from_slice(&part[..read]),
        }
    }
    String::from_utf8(answer).map_err(|_| io::ErrorKind::InvalidData.into())
}
