//! `[upstream]`: the API, and what is forwarded to it.

use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderValue, Method};
use rustls::pki_types::CertificateDer;
use serde::Deserialize;

use super::egress_proxy::{Direct, Egress, RawEgress, WayOut};
use crate::config::error::Problem;
use crate::config::types::header_case::HeaderCase;
use crate::config::types::path::{ExactPath, PathPrefix};
use crate::config::types::pem;
use crate::config::types::pem::Identity;
use crate::config::types::secret_ref::warn_of_exposure;
use crate::config::types::url::{HttpUrl, Origin};
use crate::config::types::{duration, file, methods};
use crate::gbg::{self, Region};
use crate::secret::Environment;

/// How the API is reached: of `[upstream]` what decides over connections.
#[derive(Clone, Debug, PartialEq)]
pub struct Upstream {
    /// Where every forwarded request goes.
    pub origin: Origin,
    /// Whether a request fails at once, most of the time, while no connection can be opened.
    pub circuit_breaker: bool,
    /// The certificates that the API's may be signed by; empty for a plain `http` upstream.
    pub roots: Vec<CertificateDer<'static>>,
    /// The certificate that is shown to the API, if any.
    pub identity: Option<Identity>,
    /// The egress proxy on the way there, if there is one.
    pub egress: Option<Egress>,
    /// The HTTP that the API is spoken to in.
    pub http_version: HttpVersion,
    /// Name lookup, TCP, the egress proxy and TLS together.
    pub connect_timeout: Duration,
    /// The longest silence between the last byte of a request and the head of its answer.
    pub response_timeout: Duration,
    /// The longest silence of the API in the middle of an answer's body.
    pub body_timeout: Duration,
    /// How long an unused connection is kept.
    pub idle_timeout: Duration,
    /// The age from which a connection takes no further request.
    pub max_age: Duration,
    /// How many unused connections each worker keeps ready; of HTTP/2 one at most.
    pub min_idle: u16,
    /// Whether answers keep the spelling of their field names, for callers to see it.
    pub keep_header_case: bool,
    /// Connections to the API in the whole process; `None` for any number. No key: the limit of
    /// open files decides it.
    pub max_connections: Option<u32>,
}

/// What is forwarded: of `[upstream]` what decides over requests.
#[derive(Clone, Debug)]
pub struct ForwardConfig {
    /// What is forwarded: path prefixes.
    pub allow: Vec<PathPrefix>,
    /// The methods that are forwarded; all but CONNECT and TRACE where it is empty.
    pub methods: Vec<Method>,
    /// Paths on which the caller's own bearer is the credential, and passes.
    pub caller_bearer: Vec<ExactPath>,
    /// Whether callers' cookies pass.
    pub forward_cookies: bool,
    /// Whether `Forwarded` and `X-Forwarded-For` name the caller.
    pub send_forwarded: bool,
    /// The `X-GBG-Source` of requests that have none.
    pub source: Option<HeaderValue>,
}

/// An HTTP to speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum HttpVersion {
    /// HTTP/1.1.
    #[default]
    #[serde(rename = "1.1")]
    Http1,
    /// HTTP/2: by ALPN over TLS, else with prior knowledge (RFC 9113 section 3).
    #[serde(rename = "2")]
    Http2,
    /// Whichever of both the other side picks by ALPN; HTTP/1.1 where there is no TLS.
    #[serde(rename = "auto")]
    Auto,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawUpstream {
    region: Option<Region>,
    base_url: Option<HttpUrl>,
    allow: Vec<PathPrefix>,
    #[serde(deserialize_with = "methods::list")]
    methods: Vec<Method>,
    circuit_breaker: bool,
    caller_bearer: Vec<ExactPath>,
    #[serde(deserialize_with = "file::optional")]
    pub(crate) ca_file: Option<PathBuf>,
    #[serde(deserialize_with = "file::optional")]
    client_cert: Option<PathBuf>,
    #[serde(deserialize_with = "file::optional")]
    client_key: Option<PathBuf>,
    allow_http: bool,
    egress_proxy: Option<RawEgress>,
    no_proxy: Vec<Direct>,
    http_version: HttpVersion,
    #[serde(deserialize_with = "duration::positive")]
    connect_timeout: Duration,
    #[serde(deserialize_with = "duration::positive")]
    response_timeout: Duration,
    #[serde(deserialize_with = "duration::positive")]
    body_timeout: Duration,
    #[serde(deserialize_with = "duration::positive")]
    idle_timeout: Duration,
    #[serde(deserialize_with = "duration::positive")]
    max_age: Duration,
    min_idle: u16,
    forward_cookies: bool,
    send_forwarded: bool,
    source: Option<String>,
}

impl Default for RawUpstream {
    fn default() -> Self {
        RawUpstream {
            region: None,
            base_url: None,
            allow: [gbg::V2, gbg::V1].map(PathPrefix::known).into(),
            methods: Vec::new(),
            circuit_breaker: true,
            caller_bearer: gbg::CALLER_BEARER.map(ExactPath::known).into(),
            ca_file: None,
            client_cert: None,
            client_key: None,
            allow_http: false,
            egress_proxy: None,
            no_proxy: Vec::new(),
            http_version: HttpVersion::default(),
            connect_timeout: Duration::from_secs(10),
            response_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(50),
            max_age: Duration::from_secs(300),
            min_idle: 0,
            forward_cookies: false,
            send_forwarded: false,
            source: None,
        }
    }
}

impl RawUpstream {
    /// Takes out what decides the way of both, the API's and the token endpoint's.
    pub(crate) fn way_out(
        &mut self,
        env: &Environment,
        warnings: &mut Vec<String>,
    ) -> Result<WayOut, Problem> {
        WayOut::resolve(
            self.egress_proxy.take(),
            std::mem::take(&mut self.no_proxy),
            env,
            warnings,
        )
    }

    pub(crate) fn resolve(
        self,
        header_case: HeaderCase,
        way_out: &WayOut,
        warnings: &mut Vec<String>,
    ) -> Result<(Upstream, ForwardConfig), Problem> {
        let url = self.url()?;
        let origin = origin(&url)?;
        if self.allow.is_empty() {
            return Err(Problem::new(
                "upstream.allow",
                "nothing would be forwarded",
                "name at least one path prefix, such as \"/v2/captain/\"",
            ));
        }
        if self.allow.iter().any(|prefix| prefix.as_str() == "/") {
            warnings.push(
                "upstream.allow has \"/\": every path of the host is forwarded with a token, also those that are \
                 no part of the customer API"
                    .to_owned(),
            );
        }
        let roots = match (&self.ca_file, origin.tls) {
            (Some(path), _) => pem::roots(path).map_err(|error| error.at("upstream.ca_file"))?,
            (None, true) => pem::platform_roots("upstream.ca_file")?,
            (None, false) => Vec::new(),
        };
        let identity = self.identity(origin.tls)?;
        if let Some(key) = &self.client_key {
            warn_of_exposure("upstream.client_key", key, warnings);
        }
        let upstream = Upstream {
            origin,
            circuit_breaker: self.circuit_breaker,
            roots,
            identity,
            egress: way_out.toward(&url),
            http_version: self.http_version,
            connect_timeout: self.connect_timeout,
            response_timeout: self.response_timeout,
            body_timeout: self.body_timeout,
            idle_timeout: self.idle_timeout,
            max_age: self.max_age,
            min_idle: self.min_idle,
            keep_header_case: header_case == HeaderCase::Preserve,
            max_connections: None,
        };
        let forward = ForwardConfig {
            allow: self.allow,
            methods: self.methods,
            caller_bearer: self.caller_bearer,
            forward_cookies: self.forward_cookies,
            send_forwarded: self.send_forwarded,
            source: self.source.map(source).transpose()?,
        };
        Ok((upstream, forward))
    }

    /// The certificate for the API: both keys or neither.
    fn identity(&self, tls: bool) -> Result<Option<Identity>, Problem> {
        const KEYS: [&str; 2] = ["upstream.client_cert", "upstream.client_key"];
        let alone = |written: &str, missing| {
            let message = format!("{written} is written, and needs it");
            Problem::new(
                missing,
                message,
                format!("write {missing} as well, or remove {written}"),
            )
        };
        match (&self.client_cert, &self.client_key) {
            (None, None) => Ok(None),
            (Some(_), None) => Err(alone(KEYS[0], KEYS[1])),
            (None, Some(_)) => Err(alone(KEYS[1], KEYS[0])),
            (Some(_), Some(_)) if !tls => Err(Problem::new(
                KEYS[0],
                "a certificate is shown in TLS, and the API is reached over http://",
                "write an https:// base_url, or remove client_cert and client_key",
            )),
            (Some(cert), Some(key)) => pem::identity(cert, key, KEYS).map(Some),
        }
    }

    fn url(&self) -> Result<HttpUrl, Problem> {
        let url = match (&self.base_url, self.region) {
            (Some(_), Some(region)) => {
                return Err(Problem::new(
                    "upstream.base_url",
                    format!(
                        "both base_url and region = \"{region}\" are written, and each names the API"
                    ),
                    "remove one of the two",
                ));
            }
            (Some(url), None) => url.clone(),
            (None, region) => HttpUrl::known(region.unwrap_or_default().origin()),
        };
        if !url.is_tls() && !url.is_loopback() && !self.allow_http {
            return Err(Problem::new(
                "upstream.base_url",
                "http:// would send tokens and identity documents over the network in clear",
                "write https://, or upstream.allow_http = true if the network in between is trusted",
            ));
        }
        Ok(url)
    }
}

fn origin(url: &HttpUrl) -> Result<Origin, Problem> {
    Origin::of(url).ok_or_else(|| {
        let origin = url.url().origin().ascii_serialization();
        Problem::new(
            "upstream.base_url",
            format!(
                "this is an origin, scheme, host and port; {:?} follows it",
                match url.url().query() {
                    Some(_) => format!("{}?…", url.url().path()),
                    None => url.url().path().to_owned(),
                }
            ),
            format!(
                "write base_url = {origin:?}: callers send the whole path, such as /v2/captain/journey/start"
            ),
        )
    })
}

fn source(text: String) -> Result<HeaderValue, Problem> {
    HeaderValue::try_from(&text).map_err(|_| {
        Problem::new(
            "upstream.source",
            "no text that a header field can have",
            "write printable ASCII, such as \"crm-eu\"",
        )
    })
}
