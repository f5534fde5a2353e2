//! Routes of the admin server.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::{HOST, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tokio::sync::Mutex;
use tokio::time::sleep;

use super::handles::Handles;
use super::history::History;
use super::permits::{ResponsePermit, ResponsePermits};
use super::response::{AdminResponse, method_not_allowed, text, with_type};
use super::{health, page, status};
use crate::config::{Admin, Hosts};
use crate::downstream::{PeerInfo, RefusalLog};
use crate::headers::accept::accepts_with_parameters;
use crate::metrics;
use crate::telemetry::throttle::LogThrottle;

/// Responds to requests.
pub(super) struct Router {
    handles: Handles,
    history: History,
    hosts: Hosts,
    allows_quit: bool,
    permits: ResponsePermits,
    /// Held while a response body is made.
    making: Mutex<()>,
    hidden_names: LogThrottle,
}

impl Router {
    pub(super) fn new(handles: Handles, config: &Admin, refusal_log: Arc<RefusalLog>) -> Self {
        Router {
            handles,
            history: History::default(),
            hosts: config.hosts.clone(),
            allows_quit: config.quit,
            permits: ResponsePermits::new(refusal_log),
            making: Mutex::new(()),
            hidden_names: LogThrottle::default(),
        }
    }

    /// Samples the metrics for `/history` until it is dropped.
    pub(super) async fn sample_history(&self) {
        self.history.sample(&self.handles.metrics).await;
    }

    pub(super) async fn respond(&self, req: &Parts, peer: &Arc<PeerInfo>) -> AdminResponse {
        let path = req.uri.path();
        let is_read = matches!(req.method, Method::GET | Method::HEAD);
        if path == "/livez" && is_read {
            return health::live(&self.handles).await;
        }
        let is_known_host = self.is_known_host(req, peer);
        // Kubelet, Prometheus and load balancers use any Host. These paths reveal no caller's name
        // to a web page whose own name resolves to this address (DNS rebinding).
        let is_public = matches!(path, "/livez" | "/startupz" | "/readyz" | "/metrics");
        if !is_public && !is_known_host {
            return text(
                StatusCode::FORBIDDEN,
                "the Host header is not allowed; admin.hosts adds names\n",
            );
        }
        match path {
            "/quit" if self.allows_quit => self.quit(req),
            _ if !is_read => method_not_allowed("GET, HEAD"),
            "/startupz" => text(StatusCode::OK, "ok\n"),
            "/readyz" => health::ready(&self.handles, is_known_host),
            "/metrics" => self.metrics(req, peer, is_known_host).await,
            "/status" => {
                let make = || status::json(&self.handles, &self.history);
                self.make_response(peer, "application/json", make).await
            }
            "/history" => {
                let make = || self.history.json(Instant::now());
                self.make_response(peer, "application/json", make).await
            }
            "/" => page::response(),
            _ => text(
                StatusCode::NOT_FOUND,
                "there are / (for people), /livez, /startupz, /readyz, /metrics, /status and /history\n",
            ),
        }
    }

    fn quit(&self, req: &Parts) -> AdminResponse {
        if req.method != Method::POST {
            return method_not_allowed("POST");
        }
        // Any page can make a browser send a POST without a preflight request.
        if req.headers.contains_key(ORIGIN) {
            return text(StatusCode::FORBIDDEN, "no web page may end the process\n");
        }
        self.handles.quit.notify_one();
        text(StatusCode::OK, "draining\n")
    }

    /// Metrics as OpenMetrics if `Accept` names it, else in the older format.
    async fn metrics(&self, req: &Parts, peer: &Arc<PeerInfo>, with_names: bool) -> AdminResponse {
        if !with_names && self.hidden_names.is_due() {
            tracing::info!(
                peer = peer.addr.map(tracing::field::display),
                "hid the names of callers in /metrics: the Host header is not in admin.hosts"
            );
        }
        let metrics = &self.handles.metrics;
        if accepts_open_metrics(&req.headers) {
            let make = || metrics.open_metrics(with_names);
            self.make_response(peer, metrics::OPEN_METRICS, make).await
        } else {
            let make = || metrics.plain_text(with_names);
            self.make_response(peer, metrics::PLAIN_TEXT, make).await
        }
    }

    /// A response with the body that `make` returns, once a permit is free. Permit and memory are
    /// released together.
    async fn make_response(
        &self,
        peer: &Arc<PeerInfo>,
        media_type: &'static str,
        make: impl FnOnce() -> String,
    ) -> AdminResponse {
        let Some(mut permit) = self.permits.acquire().await else {
            return text(
                StatusCode::SERVICE_UNAVAILABLE,
                "too many responses are being read\n",
            );
        };
        let making = self.making.lock().await;
        let started = Instant::now();
        let text = make();
        // Leaves half of the thread's time to probes and the token task, however many responses
        // are requested.
        sleep(started.elapsed()).await;
        drop(making);
        self.permits.start_deadline(&mut permit, peer);
        let body = PermittedBody {
            text,
            _permit: permit,
        };
        with_type(media_type, Bytes::from_owner(body))
    }

    fn is_known_host(&self, req: &Parts, peer: &PeerInfo) -> bool {
        let fields = req.headers.get_all(HOST).iter().map(HeaderValue::as_bytes);
        let authority = req.uri.authority();
        let authority = authority.map(|authority| authority.as_str().as_bytes());
        fields
            .chain(authority)
            .all(|host| self.hosts.has(host, peer.local))
    }
}

/// Returns true if `Accept` names [`metrics::OPEN_METRICS`], whatever it prefers: an older format is for
/// scrapers that do not know this one.
fn accepts_open_metrics(headers: &HeaderMap) -> bool {
    accepts_with_parameters(headers, "application/openmetrics-text", |name, value| {
        match &*name.to_ascii_lowercase() {
            b"version" => value == b"1.0.0",
            b"charset" => value.eq_ignore_ascii_case(b"utf-8"),
            // Prometheus 3 asks for an escaping of names; no name here has anything to escape.
            b"escaping" => true,
            _ => false,
        }
    })
}

/// Body of a response, with its permit.
struct PermittedBody {
    text: String,
    _permit: ResponsePermit,
}

impl AsRef<[u8]> for PermittedBody {
    fn as_ref(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use http::header::ACCEPT;

    use super::*;

    fn accepts(lines: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(ACCEPT, line.parse().unwrap());
        }
        accepts_open_metrics(&headers)
    }

    #[test]
    fn prometheus_gets_open_metrics() {
        for lines in [
            &["application/openmetrics-text"][..],
            // Prometheus 2.53.
            &["application/openmetrics-text;version=1.0.0;q=0.5,\
               application/openmetrics-text;version=0.0.1;q=0.4,\
               text/plain;version=0.0.4;q=0.3,*/*;q=0.2"],
            // Prometheus 3.
            &[
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
               application/openmetrics-text;version=0.0.1;q=0.4,\
               text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,\
               text/plain;version=0.0.4;q=0.2,/;q=0.1",
            ],
            &[
                "text/plain",
                "Application/OpenMetrics-Text; Charset=\"UTF-8\"",
            ],
            &[metrics::OPEN_METRICS],
        ] {
            assert!(accepts(lines), "{lines:?}");
        }
    }

    #[test]
    fn others_get_the_older_format() {
        for lines in [
            &[][..],
            &["*/*"],
            &["text/plain;version=0.0.4"],
            &["application/openmetrics-text;q=0"],
            &[
                "application/openmetrics-text",
                "application/openmetrics-text; q=0.0",
            ],
            &["application/openmetrics-text;version=0.0.1"],
            &["application/openmetrics-textual"],
            &["text/plain;x=\"application/openmetrics-text,application/openmetrics-text\""],
        ] {
            assert!(!accepts(lines), "{lines:?}");
        }
    }
}
