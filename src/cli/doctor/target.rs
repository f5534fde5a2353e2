//! The two servers that the doctor connects to, with the configuration keys that an error names.

use std::fmt;
use std::time::Duration;

use rustls::pki_types::CertificateDer;

use crate::config::{Egress, HttpUrl, Identity, Origin, Token, Upstream};
use crate::error::BoxError;
use crate::upstream::ConnectDeadline;

/// The token endpoint or the API.
pub(super) struct Target {
    pub(super) name: &'static str,
    pub(super) origin: Origin,
    pub(super) roots: Vec<CertificateDer<'static>>,
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

impl Target {
    /// # Errors
    /// When the client certificate cannot be read.
    pub(super) fn token_endpoint(
        config: &Token,
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
            identity: config.credentials.identity()?,
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

    /// Host and port of the server, as people write them.
    pub(super) fn host_and_port(&self) -> String {
        format!("{}:{}", self.origin.host, self.origin.port)
    }
}
