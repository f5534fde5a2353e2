//! What is told of the proxy, on a listener of its own: health for probes, metrics for Prometheus, status for people and
//! scripts. It reads, and changes nothing, but for `POST /quit` where that is allowed.

mod callers;
mod health;
mod history;
mod page;
mod status;
mod tally;
mod verdict;
mod words;

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, ORIGIN, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use tokio::sync::{Notify, Semaphore, watch};
use tower::service_fn;

pub use self::callers::Limits;
use self::history::History;
use crate::config::{Admin, Hosts};
use crate::downstream::{Options, Peer, Socket, Timeouts};
use crate::metrics::{self, Metrics};
use crate::pulse::Pulse;
use crate::token::Reader;

/// Connections that are served at once; probes and scrapes are few.
const CONNECTIONS: usize = 64;

/// What is told, and what is asked for it.
#[derive(Debug)]
pub struct Handles {
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The token.
    pub tokens: Reader,
    /// Turns true when the process is about to end.
    pub draining: watch::Receiver<bool>,
    /// Notified by `POST /quit`.
    pub quit: Arc<Notify>,
    /// How much each caller may.
    pub limits: watch::Receiver<Vec<Limits>>,
    /// Tell whether the workers turn.
    pub workers: Vec<Pulse>,
}

/// Serves `socket` for as long as it is polled.
///
/// # Errors
/// When the runtime cannot take the socket.
pub async fn serve(socket: Socket, config: &Admin, handles: Handles) -> io::Result<()> {
    let patience = Duration::from_secs(10);
    let options = Options {
        tls: None,
        timeouts: Timeouts {
            handshake: patience,
            header: patience,
            keep_alive: Duration::from_secs(75),
            body: patience,
        }
        .fixed(),
        h2_streams: 16,
        title_case: false,
        connections: Arc::new(Semaphore::new(CONNECTIONS)),
        counted: Arc::default(),
    };
    let admin = Arc::new(Pages {
        handles,
        history: History::default(),
        hosts: config.hosts.clone(),
        may_quit: config.quit,
    });
    let kept = Arc::clone(&admin);
    // It is never told to drain: that the process does is what it tells until the end.
    let (_never, drain) = watch::channel(false);
    let make_service = move |peer: Peer| {
        let admin = Arc::clone(&admin);
        let peer = Arc::new(peer);
        service_fn(move |req| Arc::clone(&admin).answer(req, Arc::clone(&peer)))
    };
    tokio::select! {
        served = socket.serve(options, drain, make_service) => served,
        () = kept.history.follow(&kept.handles.metrics) => Ok(()),
    }
}

struct Pages {
    handles: Handles,
    history: History,
    hosts: Hosts,
    may_quit: bool,
}

type Page = Response<Full<Bytes>>;

impl Pages {
    async fn answer<B>(self: Arc<Self>, req: Request<B>, peer: Arc<Peer>) -> Result<Page, Infallible> {
        let mut res = match (req.uri().path(), req.method()) {
            ("/livez", &Method::GET | &Method::HEAD) => health::live(&self.handles).await,
            _ => self.page(&req, &peer),
        };
        res.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        res.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        Ok(res)
    }

    fn page<B>(&self, req: &Request<B>, peer: &Peer) -> Page {
        let path = req.uri().path();
        // Kubelet and Prometheus come by address, and no web page learns anything from these.
        let is_for_any = matches!(path, "/livez" | "/startupz" | "/readyz" | "/metrics");
        if !is_for_any && !self.is_called_rightly(req, peer) {
            return text(StatusCode::FORBIDDEN, "this host is none of ours; admin.hosts adds names\n");
        }
        let is_read = matches!(*req.method(), Method::GET | Method::HEAD);
        match path {
            "/quit" if self.may_quit => match *req.method() {
                // Any page can make a browser send this, without being asked whether it may.
                Method::POST if req.headers().contains_key(ORIGIN) => {
                    text(StatusCode::FORBIDDEN, "no web page may end the process\n")
                }
                Method::POST => {
                    self.handles.quit.notify_one();
                    text(StatusCode::OK, "draining\n")
                }
                _ => refused("POST"),
            },
            _ if !is_read => refused("GET, HEAD"),
            "/startupz" => text(StatusCode::OK, "ok\n"),
            "/readyz" => health::ready(&self.handles),
            "/metrics" => self.metrics(req),
            "/status" => with_type("application/json", status::json(&self.handles, &self.history)),
            "/history" => with_type("application/json", self.history.json(Instant::now())),
            "/" => page::answer(),
            _ => text(
                StatusCode::NOT_FOUND,
                "there are / (for people), /livez, /startupz, /readyz, /metrics, /status and /history\n",
            ),
        }
    }

    /// In the text that was asked for; in the older one if none was.
    fn metrics<B>(&self, req: &Request<B>) -> Page {
        let accept = req.headers().get(ACCEPT).map_or(&b""[..], HeaderValue::as_bytes);
        let metrics = &self.handles.metrics;
        const WANTED: &[u8] = b"application/openmetrics-text";
        match accept.windows(WANTED.len()).any(|part| part.eq_ignore_ascii_case(WANTED)) {
            true => with_type(metrics::OPEN_METRICS, metrics.text()),
            false => with_type(metrics::PLAIN, metrics.plain_text()),
        }
    }

    fn is_called_rightly<B>(&self, req: &Request<B>, peer: &Peer) -> bool {
        let host = req.headers().get(HOST).map(HeaderValue::as_bytes);
        let named = req.uri().authority().map(|authority| authority.as_str().as_bytes());
        [host, named].into_iter().flatten().all(|host| self.hosts.has(host, peer.local))
    }
}

fn text(status: StatusCode, text: impl Into<Bytes>) -> Page {
    let mut res = with_type("text/plain; charset=utf-8", text);
    *res.status_mut() = status;
    res
}

fn with_type(media_type: &'static str, text: impl Into<Bytes>) -> Page {
    let mut res = Response::new(Full::new(text.into()));
    res.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    res
}

fn refused(methods: &'static str) -> Page {
    let mut res = text(StatusCode::METHOD_NOT_ALLOWED, "this method is for nothing here\n");
    res.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    res
}
