//! `[listen]`: where callers come in.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::error::Problem;
use super::pem::{self, Identity};
use super::value::{Address, SocketMode, duration};

/// `[listen]` as it is used.
#[derive(Clone, Debug)]
pub struct Listen {
    /// Where to listen; a port of 0 takes a free one.
    pub address: Address,
    /// Permissions of a Unix socket.
    pub socket_mode: SocketMode,
    /// Threads that serve requests.
    pub workers: NonZeroUsize,
    /// Open connections in the whole process; further callers wait until one ends.
    pub max_connections: NonZeroU32,
    /// How long a TLS handshake may take.
    pub handshake_timeout: Duration,
    /// How long the head of a request may take, from its first byte or from the connection's beginning.
    pub header_timeout: Duration,
    /// How long a connection stays without a request.
    pub keep_alive_timeout: Duration,
    /// The longest silence in the middle of a request, while it is the caller's turn to send or to take.
    pub body_timeout: Duration,
    /// How the field names of answers are spelt.
    pub header_case: HeaderCase,
    /// Concurrent HTTP/2 streams on one connection.
    pub h2_streams: u32,
    /// The certificate to serve with; without one, plain TCP.
    pub tls: Option<Identity>,
}

/// How the field names of an HTTP/1 answer are spelt; they mean the same in any case (RFC 9110 section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HeaderCase {
    /// In lower case.
    Lower,
    /// As the API spelt them, and those of our own with capitals.
    Preserve,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Raw {
    address: Address,
    socket_mode: SocketMode,
    workers: Option<NonZeroUsize>,
    max_connections: NonZeroU32,
    allow_anonymous: bool,
    #[serde(deserialize_with = "duration")]
    handshake_timeout: Duration,
    #[serde(deserialize_with = "duration")]
    header_timeout: Duration,
    #[serde(deserialize_with = "duration")]
    keep_alive_timeout: Duration,
    #[serde(deserialize_with = "duration")]
    body_timeout: Duration,
    header_case: HeaderCase,
    h2_streams: NonZeroU32,
    tls: Option<RawTls>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTls {
    cert: PathBuf,
    key: PathBuf,
}

impl Default for Raw {
    fn default() -> Self {
        Raw {
            address: Address::Tcp(([127, 0, 0, 1], 8080).into()),
            socket_mode: SocketMode(0o660),
            workers: None,
            max_connections: const { NonZeroU32::new(10_000).unwrap() },
            allow_anonymous: false,
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(10),
            keep_alive_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_secs(60),
            header_case: HeaderCase::Lower,
            h2_streams: const { NonZeroU32::new(128).unwrap() },
            tls: None,
        }
    }
}

impl Raw {
    pub(super) fn resolve(self) -> Result<Listen, Problem> {
        if !self.address.is_local() && !self.allow_anonymous {
            return Err(Problem::new(
                "listen.address",
                format!(
                    "{} is open to the network, and whoever reaches it is GBG GO's customer",
                    self.address
                ),
                "listen on a loopback address or a Unix socket, or write listen.allow_anonymous = true \
                 if something in front of this proxy decides who may call",
            ));
        }
        Ok(Listen {
            address: self.address,
            socket_mode: self.socket_mode,
            workers: self.workers.unwrap_or_else(cores),
            max_connections: self.max_connections,
            handshake_timeout: self.handshake_timeout,
            header_timeout: self.header_timeout,
            keep_alive_timeout: self.keep_alive_timeout,
            body_timeout: self.body_timeout,
            header_case: self.header_case,
            h2_streams: self.h2_streams.get(),
            tls: self.tls.map(RawTls::resolve).transpose()?,
        })
    }
}

impl RawTls {
    fn resolve(self) -> Result<Identity, Problem> {
        pem::identity(&self.cert, &self.key, ["listen.tls.cert", "listen.tls.key"])
    }
}

/// The cores that this process may use, a container's quota counted.
fn cores() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}
