//! `[listen]`: where callers come in.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use serde::Deserialize;

use crate::config::error::Problem;
use crate::config::types::address::{Address, SocketMode};
use crate::config::types::header_case::HeaderCase;
use crate::config::types::pem;
use crate::config::types::pem::Identity;
use crate::config::types::secret_ref::warn_of_exposure;
use crate::config::types::validity::{Validity, unix_seconds};
use crate::config::types::{duration, file, hosts};

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
    /// How long the head of a request may take, from its first byte or from the connection's
    /// beginning.
    pub header_timeout: Duration,
    /// How long a connection stays without a request.
    pub keep_alive_timeout: Duration,
    /// The longest silence in the middle of a request, while it is the caller's turn to send or to
    /// take.
    pub body_timeout: Duration,
    /// The age from which a connection takes no further request.
    pub max_age: Duration,
    /// How the field names of answers are spelt.
    pub header_case: HeaderCase,
    /// Concurrent HTTP/2 streams on one connection.
    pub h2_streams: u32,
    /// Names and addresses by which callers may speak of us, beside this machine's, the address's
    /// own and the API's; in lower case, without a port. `.example` stands for all names that end
    /// in it, `*` for all.
    pub hosts: Vec<String>,
    /// How it serves TLS; without, plain TCP.
    pub tls: Option<ListenTls>,
}

/// `[listen.tls]` as it is used, and where it was read from.
#[derive(Clone, Debug)]
pub struct ListenTls {
    /// The certificate to serve with.
    pub identity: Identity,
    /// The certificates that callers' may be signed by; empty where callers are not asked for one.
    pub client_roots: Vec<CertificateDer<'static>>,
    files: RawTls,
}

impl ListenTls {
    /// The files that it was read from.
    pub fn files(&self) -> Vec<PathBuf> {
        let RawTls {
            cert,
            key,
            client_ca,
        } = &self.files;
        [Some(cert), Some(key), client_ca.as_ref()]
            .into_iter()
            .flatten()
            .cloned()
            .collect()
    }

    /// What the same files hold by now.
    ///
    /// # Errors
    /// When one cannot be read, or they do not fit together.
    pub fn read_again(&self) -> Result<Self, Problem> {
        self.files.clone().resolve()
    }
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawListen {
    address: Address,
    socket_mode: SocketMode,
    workers: Option<NonZeroUsize>,
    max_connections: NonZeroU32,
    allow_anonymous: bool,
    #[serde(deserialize_with = "duration::positive")]
    handshake_timeout: Duration,
    #[serde(deserialize_with = "duration::positive")]
    header_timeout: Duration,
    #[serde(deserialize_with = "duration::positive")]
    keep_alive_timeout: Duration,
    #[serde(deserialize_with = "duration::positive")]
    body_timeout: Duration,
    #[serde(deserialize_with = "duration::positive")]
    max_age: Duration,
    header_case: HeaderCase,
    h2_streams: NonZeroU32,
    #[serde(deserialize_with = "hosts::list")]
    hosts: Vec<String>,
    allow_plaintext_keys: bool,
    tls: Option<RawTls>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawTls {
    #[serde(deserialize_with = "file::required")]
    cert: PathBuf,
    #[serde(deserialize_with = "file::required")]
    key: PathBuf,
    #[serde(default, deserialize_with = "file::optional")]
    client_ca: Option<PathBuf>,
}

impl Default for RawListen {
    fn default() -> Self {
        RawListen {
            address: Address::Tcp(([127, 0, 0, 1], 8080).into()),
            socket_mode: SocketMode(0o660),
            workers: None,
            max_connections: const { NonZeroU32::new(10_000).unwrap() },
            allow_anonymous: false,
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(10),
            keep_alive_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_secs(60),
            max_age: Duration::from_secs(3600),
            header_case: HeaderCase::Lower,
            h2_streams: const { NonZeroU32::new(128).unwrap() },
            hosts: Vec::new(),
            allow_plaintext_keys: false,
            tls: None,
        }
    }
}

impl RawListen {
    /// `callers` are those of the file: with none of them, everybody may call who reaches the
    /// address.
    pub(crate) fn resolve(
        self,
        callers: CallerSummary,
        warnings: &mut Vec<String>,
    ) -> Result<Listen, Problem> {
        self.check_callers(callers)?;
        if callers.is_empty && self.hosts.iter().any(|host| host == "*") {
            warnings.push(
                "listen.hosts has \"*\": a web page that a user of a machine with access opens can have its own name \
                 resolve to this proxy (DNS rebinding), and call GBG GO through it; name the hosts, or add a [[caller]]"
                    .to_owned(),
            );
        }
        if let Some(tls) = &self.tls {
            warn_of_exposure("listen.tls.key", &tls.key, warnings);
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
            max_age: self.max_age,
            header_case: self.header_case,
            h2_streams: self.h2_streams.get(),
            hosts: self.hosts,
            tls: self
                .tls
                .map(|tls| tls.resolve_and_warn(warnings))
                .transpose()?,
        })
    }

    fn check_callers(&self, callers: CallerSummary) -> Result<(), Problem> {
        let address = &self.address;
        if !callers.is_empty && self.allow_anonymous {
            return Err(Problem::new(
                "listen.allow_anonymous",
                "callers are configured, and nobody else is let in: it has no effect",
                "remove it, or remove every [[caller]] if everybody who reaches this proxy may call",
            ));
        }
        if callers.is_empty && !address.is_local() && !self.allow_anonymous {
            return Err(Problem::new(
                "listen.address",
                format!(
                    "{address} is open to the network, and anyone who reaches it can use your GBG GO account"
                ),
                "there are three ways:\n        \
                 - listen on a loopback address (\"127.0.0.1:8080\") or a Unix socket (\"unix:PATH\")\n        \
                 - say who may call: a [[caller]] for each (`gbg-proxy key new NAME` makes a key and prints the lines)\n        \
                 - write listen.allow_anonymous = true, if something in front of this proxy decides who may call",
            ));
        }
        if callers.has_keys
            && !address.is_local()
            && self.tls.is_none()
            && !self.allow_plaintext_keys
        {
            return Err(Problem::new(
                "listen.address",
                format!("callers' keys would cross the network to {address} in clear"),
                "write [listen.tls] with cert and key, or listen.allow_plaintext_keys = true if something in front of this proxy \
                 speaks TLS or the network in between is trusted",
            ));
        }
        Ok(())
    }
}

/// The facts about `[[caller]]` entries that decide where the proxy may listen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallerSummary {
    pub(crate) is_empty: bool,
    pub(crate) has_keys: bool,
}

impl RawTls {
    fn resolve_and_warn(self, warnings: &mut Vec<String>) -> Result<ListenTls, Problem> {
        let tls = self.resolve()?;
        let now = unix_seconds();
        let is_valid = |root: &&CertificateDer<'_>| {
            Validity::of(root).is_none_or(|validity| validity.contains(now))
        };
        let (valid, all) = (
            tls.client_roots.iter().filter(is_valid).count(),
            tls.client_roots.len(),
        );
        if let Some(path) = &tls.files.client_ca
            && valid < all
        {
            warnings.push(format!(
                "listen.tls.client_ca: {} of {all} certificates in {} are expired or not yet valid: callers' certificates that \
                 they signed are refused; replace them in the file",
                all - valid,
                path.display()
            ));
        }
        Ok(tls)
    }

    fn resolve(self) -> Result<ListenTls, Problem> {
        let identity = pem::identity(&self.cert, &self.key, ["listen.tls.cert", "listen.tls.key"])?;
        let client_roots = match &self.client_ca {
            Some(path) => pem::roots(path).map_err(|error| error.at("listen.tls.client_ca"))?,
            None => Vec::new(),
        };
        Ok(ListenTls {
            identity,
            client_roots,
            files: self,
        })
    }
}

/// The cores that this process may use, a container's quota counted.
fn cores() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}
