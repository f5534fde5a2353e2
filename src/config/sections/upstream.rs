//! `[upstream]`: the API, and what is forwarded to it.

use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderValue, Method};
use rustls::pki_types::CertificateDer;

use super::egress_proxy::{Egress, EgressRules};
use crate::config::source::invalid::Invalid;
use crate::config::source::section::Section;
use crate::config::source::setting::{TextSetting, choice};
use crate::config::source::visible::may_quote;
use crate::config::types::duration::positive;
use crate::config::types::header_case::HeaderCase;
use crate::config::types::path::{PathPrefix, PathTemplate};
use crate::config::types::pem;
use crate::config::types::pem::Identity;
use crate::config::types::secret_ref::exposure_warning;
use crate::config::types::url::{HttpUrl, Origin};
use crate::gbg::{self, Region};
use crate::secret::Environment;

/// The connections to the API: the part of `[upstream]` that they depend on.
#[derive(Clone, Debug, PartialEq)]
pub struct Upstream {
    /// Where every forwarded request goes.
    pub origin: Origin,
    /// Whether most requests fail at once while no connection can be opened.
    pub circuit_breaker: bool,
    /// The certificates that the API's may be signed by; empty for a plain `http` upstream.
    pub roots: Vec<CertificateDer<'static>>,
    /// The file that they are from; `None` for those of the platform.
    pub ca_file: Option<PathBuf>,
    /// The certificate to present to the API, if any.
    pub identity: Option<Identity>,
    /// The egress proxy on the way there, if any.
    pub egress: Option<Egress>,
    /// The HTTP version to use with the API.
    pub http_version: HttpVersion,
    /// Time limit for name lookup, TCP, the egress proxy and TLS together.
    pub connect_timeout: Duration,
    /// Maximum silence between the last byte of a request and the head of its response.
    pub response_timeout: Duration,
    /// Maximum silence of the API in the middle of a response body.
    pub body_timeout: Duration,
    /// How long an unused connection is kept.
    pub idle_timeout: Duration,
    /// The age from which a connection takes no further request.
    pub max_age: Duration,
    /// Unused connections that each worker keeps ready; with HTTP/2 at most one.
    pub min_idle: u16,
    /// Whether responses keep the case of their field names for callers.
    pub keep_header_case: bool,
    /// Maximum number of connections to the API in the whole process; `None` for any number. Derived
    /// from the limit of open files; not configurable.
    pub max_connections: Option<u32>,
}

/// The requests that are forwarded: the part of `[upstream]` that they depend on.
#[derive(Clone, Debug)]
pub struct ForwardConfig {
    /// Path prefixes to forward.
    pub allow: Vec<PathPrefix>,
    /// Methods to forward; all but CONNECT and TRACE if it is empty.
    pub methods: Vec<Method>,
    /// Paths on which the caller's own bearer is the credential and is forwarded.
    pub caller_bearer: Vec<PathTemplate>,
    /// Whether callers' cookies are forwarded.
    pub forward_cookies: bool,
    /// Whether `Forwarded` and `X-Forwarded-For` name the caller.
    pub send_forwarded: bool,
    /// The `X-GBG-Source` of requests without one.
    pub source: Option<HeaderValue>,
}

/// HTTP version of the connections to the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpVersion {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2: by ALPN over TLS, else with prior knowledge (RFC 9113 section 3).
    Http2,
    /// The version that the API selects by ALPN; HTTP/1.1 without TLS.
    Auto,
}

choice!(HttpVersion, "HTTP version", {
    "1.1" => HttpVersion::Http1,
    "2" => HttpVersion::Http2,
    "auto" => HttpVersion::Auto,
});

choice!(Region, "region", { "eu" => Region::Eu, "us" => Region::Us, "au" => Region::Au });

/// `[upstream]`, and what other sections need of it.
pub(crate) struct UpstreamSettings {
    /// `None` where the address of the API is unknown because of an error.
    pub(crate) upstream: Option<Upstream>,
    pub(crate) forward: ForwardConfig,
    pub(crate) egress_rules: EgressRules,
    /// The CA certificates, which also serve the token endpoint.
    pub(crate) ca_file: Option<PathBuf>,
}

impl UpstreamSettings {
    pub(crate) fn read(
        section: &Section<'_, '_>,
        env: &Environment,
        header_case: HeaderCase,
    ) -> Self {
        let duration =
            |name, seconds| section.get_checked(name, Duration::from_secs(seconds), positive);
        let api = read_api(section);
        let ca_file: Option<PathBuf> = section.optional("ca_file");
        let egress_rules = EgressRules::read(section, env);
        let forward = ForwardConfig::read(section);
        let circuit_breaker = section.get("circuit_breaker", true);
        let http_version = section.get("http_version", HttpVersion::Http1);
        let connect_timeout = duration("connect_timeout", 10);
        let response_timeout = duration("response_timeout", 65);
        let body_timeout = duration("body_timeout", 60);
        let idle_timeout = duration("idle_timeout", 50);
        let max_age = duration("max_age", 300);
        let min_idle = section.get("min_idle", 0);
        let certificate = [
            section.optional("client_cert"),
            section.optional("client_key"),
        ];
        let (roots, identity) = match &api {
            Some((url, _)) if section.is_sound() => {
                let roots = pem::roots_for(ca_file.as_deref(), "upstream.ca_file", url.is_tls());
                let identity = read_identity(section, certificate, url.is_tls());
                (section.accept(roots).unwrap_or_default(), identity)
            }
            _ => (Vec::new(), None),
        };
        let upstream = api.map(|(url, origin)| Upstream {
            origin,
            circuit_breaker,
            roots,
            ca_file: ca_file.clone(),
            identity,
            egress: egress_rules.egress_to(&url),
            http_version,
            connect_timeout,
            response_timeout,
            body_timeout,
            idle_timeout,
            max_age,
            min_idle,
            keep_header_case: header_case == HeaderCase::Preserve,
            max_connections: None,
        });
        UpstreamSettings {
            upstream,
            forward,
            egress_rules,
            ca_file,
        }
    }
}

impl ForwardConfig {
    fn read(section: &Section<'_, '_>) -> Self {
        let allow = section.get_checked(
            "allow",
            [gbg::V2, gbg::V1].map(PathPrefix::known).into(),
            |allow: &Vec<_>| {
                let fix = "name at least one path prefix, such as [\"/v2/captain/\"]";
                let reason = "nothing would be forwarded";
                let error = || Invalid::new("list", reason, fix);
                (!allow.is_empty()).then_some(()).ok_or_else(error)
            },
        );
        if allow.iter().any(|prefix| prefix.as_str() == "/") {
            section.warn(
                "upstream.allow has \"/\": every path of the host is forwarded with a token, also those that are not part \
                 of the customer API",
            );
        }
        let caller_bearer: Vec<PathTemplate> = section.get("caller_bearer", Vec::new());
        if section.is_sound() {
            let is_outside = |path: &&PathTemplate| !path.can_match(&allow);
            for path in caller_bearer.iter().filter(is_outside) {
                section.reject(
                    "caller_bearer",
                    format!(
                        "{:?} is outside upstream.allow, and never forwarded",
                        path.as_str()
                    ),
                    "remove it, or extend upstream.allow",
                );
            }
        }
        ForwardConfig {
            allow,
            methods: section.get("methods", Vec::new()),
            caller_bearer,
            forward_cookies: section.get("forward_cookies", false),
            send_forwarded: section.get("send_forwarded", false),
            source: section.optional("source"),
        }
    }
}

impl TextSetting for HeaderValue {
    fn parse_text(text: &str) -> Result<Self, Invalid> {
        let invalid = || {
            let fix = "write printable ASCII, such as \"crm-eu\"";
            Invalid::new("header field value", "", fix)
        };
        if !text.is_ascii() {
            return Err(invalid());
        }
        HeaderValue::try_from(text).map_err(|_| invalid())
    }

    fn to_text(&self) -> String {
        self.to_str().unwrap_or_default().to_owned()
    }
}

/// The certificate to present to the API: both keys or neither.
fn read_identity(
    section: &Section<'_, '_>,
    [cert, key]: [Option<PathBuf>; 2],
    is_tls: bool,
) -> Option<Identity> {
    const PATHS: [&str; 2] = ["upstream.client_cert", "upstream.client_key"];
    let incomplete = |written, missing| {
        let message = format!("it is missing, and {written} needs it");
        let fix = format!("write upstream.{missing} as well, or remove {written}");
        section.reject(missing, message, fix);
    };
    match (cert, key) {
        (None, None) => {}
        (Some(_), None) => incomplete(PATHS[0], "client_key"),
        (None, Some(_)) => incomplete(PATHS[1], "client_cert"),
        (Some(_), Some(_)) if !is_tls => section.reject(
            "client_cert",
            "it has no effect: the API is reached over http://, without TLS",
            "write an https:// base_url, or remove client_cert and client_key",
        ),
        (Some(cert), Some(key)) => {
            section.warn_all(exposure_warning(PATHS[1], &key));
            return section.accept(pem::identity(&cert, &key, PATHS));
        }
    }
    None
}

/// The URL of the API and its origin.
fn read_api(section: &Section<'_, '_>) -> Option<(HttpUrl, Origin)> {
    let base_url: Option<HttpUrl> = section.optional("base_url");
    let region = match base_url {
        Some(_) => section.optional("region"),
        None => Some(section.get("region", Region::Eu)),
    };
    let allow_http = section.get("allow_http", false);
    if !section.is_sound() {
        return None;
    }
    let url = match (base_url, region) {
        (Some(_), Some(region)) => {
            section.reject(
                "base_url",
                format!("region = \"{region}\" is written as well, and each names the API"),
                "remove one of the two",
            );
            return None;
        }
        (Some(url), None) => url,
        (None, region) => HttpUrl::known(region.unwrap_or_default().origin()),
    };
    if !url.is_tls() && !url.is_loopback() && !allow_http {
        section.reject(
            "base_url",
            "http:// would send tokens and identity documents over the network in clear text",
            "write https://, or upstream.allow_http = true if you trust the network in between",
        );
        return None;
    }
    let origin = Origin::of(&url);
    if origin.is_none() {
        let origin = url.url().origin().ascii_serialization();
        let path = url.url().path();
        let follows = match may_quote(path) {
            _ if path == "/" => "a query".to_owned(),
            true => format!("{path:?}"),
            false => "a path".to_owned(),
        };
        section.reject(
            "base_url",
            format!("{follows} follows the origin; only scheme, host and port are allowed"),
            format!("write base_url = {origin:?}: callers send the whole path, such as /v2/captain/journey/start"),
        );
    }
    origin.map(|origin| (url, origin))
}
