//! `[trace]`: traces of requests, and their collector.

use std::path::PathBuf;

use rustls::pki_types::CertificateDer;
use toml::Value;

use crate::config::source::invalid::Invalid;
use crate::config::source::section::Section;
use crate::config::source::setting::{Kind, Setting};
use crate::config::types::pem;
use crate::config::types::url::HttpUrl;

/// `[trace]` as it is used.
#[derive(Clone, Debug)]
pub struct Trace {
    /// Whether a request without a trace starts one, even without a collector.
    pub start: bool,
    /// Fraction of the traces started here that are recorded, from 0 to 1.
    pub sample: f64,
    /// The collector, if any.
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

impl Trace {
    pub(crate) fn read(section: &Section<'_, '_>) -> Self {
        let start = section.get("start", false);
        let Fraction(sample) = section.get("sample", Fraction(1.0));
        let endpoint: Option<HttpUrl> = section.optional("endpoint");
        let ca_file: Option<PathBuf> = section.optional("ca_file");
        let allow_http = section.get("allow_http", false);
        let exported = endpoint
            .filter(|endpoint| section.is_sound() && is_usable(section, endpoint, allow_http))
            .map(|endpoint| Exported {
                roots: section
                    .accept(pem::roots_for(
                        ca_file.as_deref(),
                        "trace.ca_file",
                        endpoint.is_tls(),
                    ))
                    .unwrap_or_default(),
                endpoint,
            });
        if section.is_sound() && ca_file.is_some() && exported.is_none() {
            section.reject(
                "ca_file",
                "it has no effect without trace.endpoint",
                "remove it, or write trace.endpoint",
            );
        }
        Trace {
            start,
            sample,
            exported,
        }
    }
}

fn is_usable(section: &Section<'_, '_>, endpoint: &HttpUrl, allow_http: bool) -> bool {
    let (message, fix) = if !cfg!(feature = "otlp") {
        (
            "this gbg-proxy was built without OTLP",
            "build it with the default features, or remove trace.endpoint".to_owned(),
        )
    } else if endpoint.url().path() == "/" {
        let origin = endpoint.url().origin().ascii_serialization();
        (
            "the path of the collector is missing",
            format!("write \"{origin}/v1/traces\""),
        )
    } else if !endpoint.is_tls() && !endpoint.is_loopback() && !allow_http {
        (
            "http:// would send traces (which caller made which request, and when) over the network in clear text",
            "write https://, or trace.allow_http = true if you trust the network in between"
                .to_owned(),
        )
    } else {
        return true;
    };
    section.reject("endpoint", message, fix);
    false
}

/// A number from 0 to 1.
#[derive(Clone, Copy)]
struct Fraction(f64);

impl Setting for Fraction {
    const KIND: Kind = Kind::Number;

    fn parse(value: &Value) -> Result<Self, Invalid> {
        let number = match value {
            Value::Float(number) => Some(*number),
            Value::Integer(number @ 0..=1) => Some(*number as f64),
            _ => None,
        };
        number
            .filter(|number| (0.0..=1.0).contains(number))
            .map(Fraction)
            .ok_or_else(|| Invalid::new("fraction", "", "write a number from 0 to 1, such as 0.1"))
    }

    fn to_toml(&self) -> Value {
        Value::Float(self.0)
    }
}
