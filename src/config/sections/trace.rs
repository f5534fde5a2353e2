//! `[trace]`: traces of requests, and their collector.

use std::path::PathBuf;

use rustls::pki_types::CertificateDer;
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, de};

use crate::config::error::Problem;
use crate::config::types::file;
use crate::config::types::pem;
use crate::config::types::url::HttpUrl;

/// `[trace]` as it is used.
#[derive(Clone, Debug)]
pub struct Trace {
    /// Whether a request without a trace starts one, even without a collector.
    pub start: bool,
    /// How many of the traces that begin here are recorded, from 0 to 1.
    pub sample: f64,
    /// The collector; `None` without one.
    pub exported: Option<Exported>,
}

/// A collector of traces (OTLP over HTTP).
#[derive(Clone, Debug)]
pub struct Exported {
    /// Where spans are posted to.
    pub endpoint: HttpUrl,
    /// The certificates that the collector's may be signed by; empty for plain `http`.
    pub roots: Vec<CertificateDer<'static>>,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawTrace {
    start: bool,
    #[serde(deserialize_with = "fraction")]
    sample: f64,
    endpoint: Option<HttpUrl>,
    #[serde(deserialize_with = "file::optional")]
    ca_file: Option<PathBuf>,
    allow_http: bool,
}

impl Default for RawTrace {
    fn default() -> Self {
        RawTrace {
            start: false,
            sample: 1.0,
            endpoint: None,
            ca_file: None,
            allow_http: false,
        }
    }
}

impl RawTrace {
    pub(crate) fn resolve(self) -> Result<Trace, Problem> {
        if self.ca_file.is_some() && self.endpoint.is_none() {
            let message = "it goes with trace.endpoint, and has no effect here";
            return Err(Problem::new(
                "trace.ca_file",
                message,
                "remove it, or write trace.endpoint",
            ));
        }
        let exported = match self.endpoint {
            None => None,
            Some(_) if !cfg!(feature = "otlp") => {
                return Err(Problem::new(
                    "trace.endpoint",
                    "this gbg-proxy was built without OTLP",
                    "build it with the default features, or remove trace.endpoint",
                ));
            }
            Some(endpoint) if endpoint.url().path() == "/" => {
                return Err(Problem::new(
                    "trace.endpoint",
                    "this is where the collector is, without the path that it takes traces at",
                    format!(
                        "write \"{}v1/traces\"",
                        endpoint.url().origin().ascii_serialization() + "/"
                    ),
                ));
            }
            Some(endpoint) if !endpoint.is_tls() && !endpoint.is_loopback() && !self.allow_http => {
                return Err(Problem::new(
                    "trace.endpoint",
                    "http:// would send who calls, what and when over the network in clear",
                    "write https://, or trace.allow_http = true if the network in between is trusted",
                ));
            }
            Some(endpoint) => {
                let roots = match (&self.ca_file, endpoint.is_tls()) {
                    (Some(path), _) => {
                        pem::roots(path).map_err(|error| error.at("trace.ca_file"))?
                    }
                    (None, true) => pem::platform_roots("trace.ca_file")?,
                    (None, false) => Vec::new(),
                };
                Some(Exported { endpoint, roots })
            }
        };
        Ok(Trace {
            start: self.start,
            sample: self.sample,
            exported,
        })
    }
}

fn fraction<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let unexpected = || D::Error::custom("no part of all; write a number from 0 to 1, such as 0.1");
    match toml::Value::deserialize(deserializer)? {
        toml::Value::Float(part) if (0.0..=1.0).contains(&part) => Ok(part),
        toml::Value::Integer(part @ 0..=1) => Ok(part as f64),
        toml::Value::Float(_) | toml::Value::Integer(_) => Err(unexpected()),
        other => Err(de::Error::invalid_type(
            de::Unexpected::Other(other.type_str()),
            &"a number from 0 to 1",
        )),
    }
}
