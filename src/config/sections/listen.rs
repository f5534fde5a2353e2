//! `[listen]`: the listener for callers.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use rustls::pki_types::CertificateDer;

use crate::config::error::Problem;
use crate::config::source::invalid::Invalid;
use crate::config::source::section::Section;
use crate::config::types::address::{Address, SocketMode};
use crate::config::types::duration::positive;
use crate::config::types::header_case::HeaderCase;
use crate::config::types::hosts::HostPattern;
use crate::config::types::pem;
use crate::config::types::pem::Identity;
use crate::config::types::secret_ref::exposure_warning;
use crate::config::types::validity::{Validity, unix_seconds};

/// `[listen]` as it is used.
#[derive(Clone, Debug)]
pub struct Listen {
    /// Where to listen; port 0 picks a free one.
    pub address: Address,
    /// Permissions of a Unix socket.
    pub socket_mode: SocketMode,
    /// Threads that serve requests.
    pub workers: NonZeroUsize,
    /// Open connections in the whole process; further callers wait until one closes.
    pub max_connections: NonZeroU32,
    /// Time limit for a TLS handshake.
    pub handshake_timeout: Duration,
    /// Time limit for a request head, from its first byte; for the first request of a connection,
    /// from the start of the connection.
    pub header_timeout: Duration,
    /// How long a connection may stay open without a request.
    pub keep_alive_timeout: Duration,
    /// Idle timeout while the caller has to send or to read.
    pub body_timeout: Duration,
    /// The age from which a connection takes no further request.
    pub max_age: Duration,
    /// Case of the field names of responses.
    pub header_case: HeaderCase,
    /// Concurrent HTTP/2 streams on one connection.
    pub h2_streams: u32,
    /// Names and addresses that callers may use in the Host field, besides this machine's, the
    /// address and the API's; in lower case, without a port. `.example` matches all names with that
    /// suffix, `*` all hosts.
    pub hosts: Vec<String>,
    /// TLS; `None` for plain TCP.
    pub tls: Option<ListenTls>,
}

/// `[listen.tls]` as it is used, and the files that it was read from.
#[derive(Clone, Debug)]
pub struct ListenTls {
    /// The certificate to serve with.
    pub identity: Identity,
    /// The certificates that callers' may be signed by; empty if callers are not asked for one.
    pub client_roots: Vec<CertificateDer<'static>>,
    files: TlsFiles,
}

#[derive(Clone, Debug)]
struct TlsFiles {
    cert: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
}

/// The facts about `[[caller]]` entries that decide where the proxy may listen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallerSummary {
    pub(crate) is_empty: bool,
    pub(crate) has_keys: bool,
}

impl Listen {
    pub(crate) fn read(section: &Section<'_, '_>, callers: CallerSummary) -> Self {
        let duration =
            |name, seconds| section.get_checked(name, Duration::from_secs(seconds), positive);
        let loopback = Address::Tcp(([127, 0, 0, 1], 8080).into());
        let hosts =
            |hosts: Vec<HostPattern>| hosts.into_iter().map(|HostPattern(host)| host).collect();
        let listen = Listen {
            address: section.get("address", loopback),
            socket_mode: section.get("socket_mode", SocketMode(0o660)),
            workers: section.get_checked("workers", cores(), |workers| {
                if workers.get() <= MAX_WORKERS {
                    return Ok(());
                }
                let fix = format!("write a number from 1 to {MAX_WORKERS}");
                Err(Invalid::new("number", "it is too large", fix))
            }),
            max_connections: section.get(
                "max_connections",
                const { NonZeroU32::new(10_000).unwrap() },
            ),
            handshake_timeout: duration("handshake_timeout", 10),
            header_timeout: duration("header_timeout", 10),
            keep_alive_timeout: duration("keep_alive_timeout", 75),
            body_timeout: duration("body_timeout", 60),
            max_age: duration("max_age", 3600),
            header_case: section.get("header_case", HeaderCase::Lower),
            h2_streams: section
                .get("h2_streams", const { NonZeroU32::new(128).unwrap() })
                .get(),
            hosts: hosts(section.get("hosts", Vec::new())),
            tls: section
                .section("tls", &["cert", "key", "client_ca"])
                .and_then(|section| ListenTls::read(&section)),
        };
        let allow = Allow {
            anonymous: section.get("allow_anonymous", false),
            plaintext_keys: section.get("allow_plaintext_keys", false),
        };
        if section.is_sound() {
            if let Some((message, fix)) = listen.address.socket_fault() {
                section.reject("address", message, fix);
            }
            listen.check_exposure(section, callers, allow);
        }
        listen
    }

    fn check_exposure(&self, section: &Section<'_, '_>, callers: CallerSummary, allow: Allow) {
        let address = &self.address;
        if callers.is_empty && self.hosts.iter().any(|host| host == "*") {
            section.warn(
                "listen.hosts has \"*\": a web page that is open on a machine with access can make its own name resolve \
                 to this proxy (DNS rebinding), and call GBG GO through it; name the hosts, or add a [[caller]]",
            );
        }
        if !callers.is_empty && allow.anonymous && !section.is_broken("caller") {
            section.reject(
                "allow_anonymous",
                "it has no effect: callers are configured, and only they may call",
                "remove it, or remove every [[caller]] if anyone who reaches this proxy may call",
            );
        }
        if callers.is_empty && !address.is_local() && !allow.anonymous {
            section.reject(
                "address",
                format!(
                    "{address} is open to the network, and anyone who reaches it can use your GBG GO account"
                ),
                "there are three ways:\n        \
                 - listen on a loopback address (\"127.0.0.1:8080\") or a Unix socket (\"unix:/PATH\")\n        \
                 - add a [[caller]] for each system (`gbg-proxy key new NAME` makes a key and prints the lines)\n        \
                 - write listen.allow_anonymous = true if something in front of this proxy decides who may call",
            );
        }
        if callers.has_keys && !address.is_local() && self.tls.is_none() && !allow.plaintext_keys {
            section.reject(
                "address",
                format!("callers' keys would cross the network to {address} in clear text"),
                "write [listen.tls] with cert and key, or listen.allow_plaintext_keys = true if TLS ends in front of this \
                 proxy or you trust the network in between",
            );
        }
    }
}

/// More than the cores of any machine.
const MAX_WORKERS: usize = 1024;

/// Exposure that an operator accepts.
#[derive(Clone, Copy)]
struct Allow {
    anonymous: bool,
    plaintext_keys: bool,
}

impl ListenTls {
    /// The files that it was read from.
    pub fn files(&self) -> Vec<PathBuf> {
        let TlsFiles {
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

    /// Reads the same files again.
    ///
    /// # Errors
    /// When one cannot be read, or they do not fit together.
    pub fn read_again(&self) -> Result<Self, Problem> {
        Self::load(self.files.clone())
    }

    fn read(section: &Section<'_, '_>) -> Option<Self> {
        let cert = section.required("cert", "\"/etc/gbg-proxy/tls.crt\"");
        let key = section.required("key", "\"/etc/gbg-proxy/tls.key\"");
        let client_ca = section.optional("client_ca");
        let files = TlsFiles {
            cert: cert?,
            key: key?,
            client_ca,
        };
        if !section.is_sound() {
            return None;
        }
        section.warn_all(exposure_warning("listen.tls.key", &files.key));
        let loaded = Self::load(files).map_err(|problem| match &*problem.key {
            "listen.tls.key" => section.reject_secret(problem),
            _ => drop(section.accept::<()>(Err(problem))),
        });
        let tls = loaded.ok()?;
        section.warn_all(tls.expired_roots_warning());
        Some(tls)
    }

    fn load(files: TlsFiles) -> Result<Self, Problem> {
        let identity = pem::identity(
            &files.cert,
            &files.key,
            ["listen.tls.cert", "listen.tls.key"],
        )?;
        let client_roots = match &files.client_ca {
            Some(path) => pem::roots(path).map_err(|error| error.at("listen.tls.client_ca"))?,
            None => Vec::new(),
        };
        Ok(ListenTls {
            identity,
            client_roots,
            files,
        })
    }

    fn expired_roots_warning(&self) -> Option<String> {
        let path = self.files.client_ca.as_ref()?.display();
        let now = unix_seconds();
        let is_invalid = |root: &&CertificateDer<'_>| {
            Validity::of(root).is_some_and(|validity| !validity.contains(now))
        };
        let invalid = self.client_roots.iter().filter(is_invalid).count();
        let all = self.client_roots.len();
        (invalid > 0).then(|| {
            format!(
                "listen.tls.client_ca: {invalid} of {all} certificates in {path} are expired or not yet valid: callers' \
                 certificates that they signed are refused; replace them in the file"
            )
        })
    }
}

/// The cores that this process may use, including a container's quota.
fn cores() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}
