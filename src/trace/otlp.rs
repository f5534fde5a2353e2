//! Span export by OTLP over HTTP, in batches, from a thread of its own: spans that do not fit into
//! the queue are dropped and delay no request.

use std::time::Duration;

use opentelemetry::trace::{SpanContext, SpanKind as OtelSpanKind, Status, TraceFlags, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{Protocol, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchSpanProcessor, SpanData, SpanEvents, SpanExporter, SpanLinks, SpanProcessor,
};

use super::span::{AttributeValue, Span, SpanKind};
use crate::config::Exported;
use crate::error::{BoxError, chain};
use crate::telemetry::throttle::LogThrottle;

/// Timeout of the export of one batch.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// Timeout of the last export, at the end of the process.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// Exports spans to a collector.
#[derive(Debug)]
pub struct OtlpExporter {
    processor: BatchSpanProcessor,
    scope: InstrumentationScope,
}

impl OtlpExporter {
    /// Starts the export to the collector of `config`. Blocks: do not call it in an async task.
    ///
    /// # Errors
    /// When the CA certificates cannot be used.
    pub fn start(config: &Exported) -> Result<Self, BoxError> {
        let roots = config
            .roots
            .iter()
            .map(|root| reqwest::Certificate::from_der(root));
        let client = reqwest::blocking::Client::builder()
            .tls_certs_only(roots.collect::<Result<Vec<_>, _>>()?)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(EXPORT_TIMEOUT)
            .build()?;
        let query = config
            .endpoint
            .url()
            .query()
            .filter(|query| !query.is_empty());
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(config.endpoint.url().as_str())
            .with_timeout(EXPORT_TIMEOUT)
            .build()
            .map_err(|error| without_query(chain(&error), query))?;
        let exporter = LoggedExporter {
            exporter,
            query: query.map(str::to_owned),
            throttle: LogThrottle::default(),
        };
        let mut processor = BatchSpanProcessor::builder(exporter).build();
        let version = KeyValue::new("service.version", env!("GBG_PROXY_VERSION"));
        let resource = Resource::builder()
            .with_service_name("gbg-proxy")
            .with_attribute(version)
            .build();
        processor.set_resource(&resource);
        let scope = InstrumentationScope::builder("gbg-proxy")
            .with_version(env!("GBG_PROXY_VERSION"))
            .build();
        Ok(OtlpExporter { processor, scope })
    }

    /// Queues `span` for export.
    pub fn export(&self, span: Span) {
        let id = span.id.into();
        let context = SpanContext::new(
            span.trace_id.0.into(),
            id,
            TraceFlags::SAMPLED,
            false,
            TraceState::default(),
        );
        self.processor.on_end(SpanData {
            span_context: context,
            parent_span_id: span.parent.into(),
            parent_span_is_remote: span.parent_is_remote,
            span_kind: match span.kind {
                SpanKind::Server => OtelSpanKind::Server,
                SpanKind::Client => OtelSpanKind::Client,
                SpanKind::Internal => OtelSpanKind::Internal,
            },
            name: span.name.into(),
            start_time: span.began,
            end_time: span.ended,
            attributes: span.attributes.into_iter().map(attribute).collect(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: if span.failed {
                Status::error("")
            } else {
                Status::Unset
            },
            instrumentation_scope: self.scope.clone(),
        });
    }

    /// Exports the queued spans within [`SHUTDOWN_TIMEOUT`]. Blocks: do not call it in an async
    /// task.
    pub fn shut_down(&self) {
        if let Err(error) = self.processor.shutdown_with_timeout(SHUTDOWN_TIMEOUT) {
            tracing::debug!(%error, "the last spans could not be exported");
        }
    }
}

fn attribute((name, value): (&'static str, AttributeValue)) -> KeyValue {
    match value {
        AttributeValue::Text(text) => KeyValue::new(name, text),
        AttributeValue::Number(number) => KeyValue::new(name, number),
    }
}

/// `error` with `…` in place of `query`: in a URL or in quotes, and anywhere if the query is too
/// long to match other text by chance.
fn without_query(error: String, query: Option<&str>) -> String {
    const MIN_BARE_QUERY_BYTES: usize = 8;
    let Some(query) = query else { return error };
    let error = error
        .replace(&format!("?{query}"), "?…")
        .replace(&format!("\"{query}\""), "\"…\"");
    if query.len() < MIN_BARE_QUERY_BYTES {
        error
    } else {
        error.replace(query, "…")
    }
}

/// Exporter that logs failures, at most once per interval.
#[derive(Debug)]
struct LoggedExporter<E> {
    exporter: E,
    /// The query of the endpoint without its question mark. It may hold a key, and errors quote the
    /// URL: it is removed from them.
    query: Option<String>,
    throttle: LogThrottle,
}

impl<E: SpanExporter> SpanExporter for LoggedExporter<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let lost = batch.len();
        let done = self.exporter.export(batch).await;
        if let Err(error) = &done
            && self.throttle.is_due()
        {
            let error = without_query(chain(error), self.query.as_deref());
            tracing::warn!(
                error,
                lost,
                "spans cannot be exported to trace.endpoint; they are dropped"
            );
        }
        done
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_never_quote_the_query_of_the_endpoint() {
        for (error, shown) in [
            (
                "error sending request for url (http://a.example/v1?key=x%20y)",
                "for url (http://a.example/v1?…)",
            ),
            (
                "Url { path: \"/v1\", query: Some(\"key=x%20y\") }",
                "query: Some(\"…\") }",
            ),
            ("key=x%20y is refused, key=x%20y", "… is refused, …"),
        ] {
            let error = without_query(error.to_owned(), Some("key=x%20y"));
            assert!(error.ends_with(shown), "{error}");
        }
        assert_eq!(without_query("broken".to_owned(), None), "broken");
    }

    #[test]
    fn a_short_query_is_removed_only_from_urls() {
        const URL: &str = "http://127.0.0.1:4318/v1/traces";
        for query in ["1", "v1", "4318", "traces"] {
            for (before, after) in [
                (format!("url ({URL}?{query})"), format!("url ({URL}?…)")),
                (
                    format!("Url {{ url: {URL:?}, query: Some({query:?}) }}"),
                    format!("Url {{ url: {URL:?}, query: Some(\"…\") }}"),
                ),
            ] {
                assert_eq!(without_query(before, Some(query)), after);
            }
        }
        for (query, shown) in [
            ("key=123", "key=123 is refused"),
            ("key=1234", "… is refused"),
        ] {
            let error = format!("{query} is refused");
            assert_eq!(without_query(error, Some(query)), shown);
        }
    }

    /// The HTTP library rejects a URL of this length.
    #[test]
    fn a_rejected_endpoint_is_quoted_without_its_query() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let endpoint = format!(
            "http://127.0.0.1:1/v1/traces?key={}",
            "hunter2".repeat(10_000)
        );
        let endpoint = endpoint.parse().unwrap();
        let error = OtlpExporter::start(&Exported {
            endpoint,
            roots: Vec::new(),
        })
        .unwrap_err()
        .to_string();
        assert!(
            error.contains("http://127.0.0.1:1/v1/traces?…"),
            "{}",
            &error[..error.len().min(200)]
        );
        assert!(!error.contains("hunter2"));
    }
}
