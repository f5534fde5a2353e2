//! The two servers that the doctor connects to, with the configuration keys that an error names.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use rustls::pki_types::CertificateDer;

use crate::config::{Egress, HttpUrl, Identity, Origin, Token, Upstream};
use crate::error::BoxError;
use crate::upstream::{ConnectDeadline, Peer};

/// The token endpoint or the API.
pub(super) struct Target {
    pub(super) name: &'static str,
    pub(super) origin: Origin,
    pub(super) roots: Vec<CertificateDer<'static>>,
    /// The key and the file that the roots are from; `None` for those of the system.
    pub(super) ca_file: Option<(&'static str, PathBuf)>,
    /// The client certificate, presented on every connection.
    pub(super) identity: Option<Identity>,
    /// The egress proxy that DNS and TCP lead to.
    pub(super) egress: Option<Egress>,
    /// The keys that set the server's address.
    pub(super) keys: &'static str,
    /// The key that sets the trusted roots.
    pub(super) ca_key: &'static str,
    /// The time limit of a connection, from DNS to TLS.
    pub(super) connect: TimeLimit,
    /// The time limit of a response.
    pub(super) response: TimeLimit,
    /// An environment variable that names a proxy, which gbg-proxy does not use.
    pub(super) ignored_proxy: Option<&'static str>,
}

/// A time limit of `run`, and the key that sets it.
#[derive(Clone, Copy, Debug)]
pub(super) struct TimeLimit {
    pub(super) time: Duration,
    pub(super) key: &'static str,
}

impl fmt::Display for TimeLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ({})",
            self.key,
            humantime::format_duration(self.time)
        )
    }
}

/// The name with host and port.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.peer())
    }
}

impl Target {
    /// `identity` is the certificate that TLS presents.
    ///
    /// # Errors
    /// When the URL has no host.
    pub(super) fn token_endpoint(
        config: &Token,
        identity: Option<Identity>,
        ignored_proxy: Option<&'static str>,
    ) -> Result<Self, BoxError> {
        let origin = config.endpoint.origin();
        // One limit for the connection and the response together.
        let limit = TimeLimit {
            time: config.timeout,
            key: "token.timeout",
        };
        Ok(Target {
            name: "token endpoint",
            origin: origin.ok_or("token.endpoint has no host")?,
            roots: config.roots.clone(),
            ca_file: config.ca_file.clone(),
            identity,
            egress: config.egress.clone(),
            keys: "token.endpoint",
            ca_key: "token.ca_file (or upstream.ca_file, for both)",
            connect: limit,
            response: limit,
            ignored_proxy,
        })
    }

    pub(super) fn api(config: &Upstream, ignored_proxy: Option<&'static str>) -> Self {
        Target {
            name: "API",
            origin: config.origin.clone(),
            roots: config.roots.clone(),
            ca_file: (config.ca_file.clone()).map(|file| ("upstream.ca_file", file)),
            identity: config.identity.clone(),
            egress: config.egress.clone(),
            keys: "upstream.region or upstream.base_url",
            ca_key: "upstream.ca_file",
            connect: TimeLimit {
                time: config.connect_timeout,
                key: "upstream.connect_timeout",
            },
            response: TimeLimit {
                time: config.response_timeout,
                key: "upstream.response_timeout",
            },
            ignored_proxy,
        }
    }

    /// The server that DNS and TCP lead to.
    pub(super) fn first_hop(&self) -> &Origin {
        match &self.egress {
            Some(egress) => &egress.origin,
            None => &self.origin,
        }
    }

    /// The keys that set the address of the first hop.
    pub(super) fn first_hop_keys(&self) -> &'static str {
        if self.egress.is_some() {
            "upstream.egress_proxy"
        } else {
            self.keys
        }
    }

    /// The deadline of a connection that starts now.
    pub(super) fn deadline(&self) -> ConnectDeadline {
        ConnectDeadline::after(self.connect.time, self.connect.key)
    }

    /// Returns true if TCP stays on this machine, where no firewall and no proxy is in between.
    pub(super) fn is_local(&self) -> bool {
        self.first_hop()
            .to_string()
            .parse()
            .is_ok_and(|url: HttpUrl| url.is_loopback())
    }

    /// The server in messages.
    pub(super) fn peer(&self) -> Peer<'_> {
        Peer::new(&self.origin)
    }

    /// The server that is connected at `addrs`.
    pub(super) fn peer_at<'a>(&'a self, addrs: &'a [SocketAddr]) -> Peer<'a> {
        match &self.egress {
            Some(egress) => self.peer().through(&egress.origin),
            None => self.peer().at(addrs),
        }
    }

    /// The first hop in messages.
    pub(super) fn first_hop_peer(&self) -> Peer<'_> {
        match &self.egress {
            Some(egress) => Peer::egress_proxy(&egress.origin),
            None => self.peer(),
        }
    }

    /// The fix for a root that is not among the trusted ones.
    pub(super) fn trust_its_root(&self) -> String {
        match &self.ca_file {
            Some((_, file)) => format!("add its root certificate to {}", file.display()),
            None => format!(
                "write its root certificate to a PEM file, and set {} to the path of that file",
                self.ca_key
            ),
        }
    }

    /// The certificates of which one has to sign the server's.
    pub(super) fn trusted(&self) -> String {
        let certificates = match self.roots.len() {
            1 => "the certificate".to_owned(),
            count => format!("any of the {count} certificates"),
        };
        if let Some((key, file)) = &self.ca_file {
            return format!("{certificates} in {} ({key})", file.display());
        }
        let is_set = |name: &&str| std::env::var_os(name).is_some();
        match ["SSL_CERT_FILE", "SSL_CERT_DIR"].into_iter().find(is_set) {
            Some(name) => format!("{certificates} of this system ({name})"),
            None => format!("{certificates} of this system"),
        }
    }
}
