//! What is told of the proxy, on a listener of its own: health for probes, metrics for Prometheus,
//! status for people and scripts. It reads, and changes nothing, but for `POST /quit` where that is
//! allowed.

mod callers;
mod diagnosis;
mod health;
mod history;
mod outcomes;
mod page;
mod permits;
mod status;
mod words;

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, ORIGIN, X_CONTENT_TYPE_OPTIONS,
};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use tokio::sync::{Mutex, Notify, Semaphore, watch};
use tokio::time::sleep;
use tower::service_fn;

pub use self::callers::Limits;
use self::history::History;
use self::permits::{Permit, Permits};
use crate::config::{Admin, Hosts};
use crate::downstream::{
    CallerBody, ConnectionUse, EvictingLimit, PeerInfo, RefusalLog, ServerOptions, Socket, Timeouts,
};
use crate::metrics::{self, Metrics};
use crate::rt::liveness::LivenessProbe;
use crate::telemetry::throttle::LogThrottle;
use crate::token::Reader;

/// Connections that are open at once, in all, where there are files enough, and of one address;
/// probes and scrapes are few.
const MAX_CONNECTIONS: u32 = 64;
const MAX_CONNECTIONS_PER_ADDRESS: usize = 16;

/// Age from which a connection takes no further request.
const MAX_CONNECTION_AGE: Duration = Duration::from_secs(60);

/// What is held of an HTTP/1 connection in each direction; probes and scrapes have short heads.
const MAX_BUFFER_BYTES: usize = 16 * 1024;

/// Streams of one HTTP/2 connection: with more, a response that is not read would not count as
/// stalled while another one of the connection is being made.
const MAX_STREAMS: u32 = 1;

/// Timeouts within a request or response, and between two. Kubelet opens a connection for each
/// probe; for Prometheus one more connection for a scrape is nothing.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(15);

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
    pub workers: Vec<LivenessProbe>,
}

/// Serves `socket` for as long as it is polled.
///
/// # Errors
/// When the runtime cannot take the socket.
pub async fn serve(socket: Socket, config: &Admin, handles: Handles) -> io::Result<()> {
    let max_connections = config
        .max_connections
        .unwrap_or(MAX_CONNECTIONS)
        .min(MAX_CONNECTIONS) as usize;
    let refused_connections = RefusalLog::new("admin", Arc::clone(&handles.metrics.refused_admin));
    let options = ServerOptions {
        tls: None,
        timeouts: Timeouts {
            handshake: REQUEST_TIMEOUT,
            header: REQUEST_TIMEOUT,
            keep_alive: KEEP_ALIVE_TIMEOUT,
            body: REQUEST_TIMEOUT,
            max_age: MAX_CONNECTION_AGE,
        }
        .fixed(),
        max_h2_streams: MAX_STREAMS,
        title_case_headers: false,
        max_buffer_bytes: MAX_BUFFER_BYTES,
        // No connection waits: `evicting_limit` bounds them.
        connection_permits: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
        evicting_limit: Some(EvictingLimit::new(
            max_connections,
            MAX_CONNECTIONS_PER_ADDRESS,
        )),
        connection_metrics: Arc::default(),
        refusal_log: Arc::clone(&refused_connections),
    };
    let admin = Arc::new(Pages {
        handles,
        history: History::default(),
        hosts: config.hosts.clone(),
        may_quit: config.quit,
        permits: Permits::new(refused_connections),
        making: Mutex::new(()),
        hidden_names: LogThrottle::default(),
    });
    let kept = Arc::clone(&admin);
    // It is never told to drain: that the process does is what it tells until the end.
    let (_never, drain) = watch::channel(false);
    let make_service = move |peer: PeerInfo| {
        let admin = Arc::clone(&admin);
        let peer = Arc::new(peer);
        service_fn(move |req: Request<CallerBody>| {
            let (admin, peer) = (Arc::clone(&admin), Arc::clone(&peer));
            // Nothing here reads a body: what is kept of it while the response is made would be
            // held for nothing.
            let (head, _) = req.into_parts();
            async move {
                let _active = peer.usage.as_ref().map(ConnectionUse::begin_request);
                Ok::<_, Infallible>(admin.answer(&head, &peer).await)
            }
        })
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
    permits: Permits,
    /// Held by the one that is being made.
    making: Mutex<()>,
    hidden_names: LogThrottle,
}

type Page = Response<Full<Bytes>>;

impl Pages {
    async fn answer(&self, req: &Parts, peer: &Arc<PeerInfo>) -> Page {
        let mut res = match (req.uri.path(), &req.method) {
            ("/livez", &Method::GET | &Method::HEAD) => health::live(&self.handles).await,
            _ => self.page(req, peer).await,
        };
        res.headers_mut()
            .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        res.headers_mut()
            .insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        res
    }

    async fn page(&self, req: &Parts, peer: &Arc<PeerInfo>) -> Page {
        let path = req.uri.path();
        let is_called_rightly = self.is_called_rightly(req, peer);
        // Kubelet, Prometheus and balancers may come by any name. These tell no names of callers to
        // a web page that has its own name point here.
        let is_for_any = matches!(path, "/livez" | "/startupz" | "/readyz" | "/metrics");
        if !is_for_any && !is_called_rightly {
            return text(
                StatusCode::FORBIDDEN,
                "the Host header is not allowed; admin.hosts adds names\n",
            );
        }
        let is_read = matches!(req.method, Method::GET | Method::HEAD);
        match path {
            "/quit" if self.may_quit => match req.method {
                // Any page can make a browser send this, without being asked whether it may.
                Method::POST if req.headers.contains_key(ORIGIN) => {
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
            "/readyz" => health::ready(&self.handles, is_called_rightly),
            "/metrics" => self.metrics(req, peer, is_called_rightly).await,
            "/status" => {
                self.made(peer, "application/json", || {
                    status::json(&self.handles, &self.history)
                })
                .await
            }
            "/history" => {
                self.made(peer, "application/json", || {
                    self.history.json(Instant::now())
                })
                .await
            }
            "/" => page::answer(),
            _ => text(
                StatusCode::NOT_FOUND,
                "there are / (for people), /livez, /startupz, /readyz, /metrics, /status and /history\n",
            ),
        }
    }

    /// In the text that was asked for; in the older one if none was.
    async fn metrics(&self, req: &Parts, peer: &Arc<PeerInfo>, with_names: bool) -> Page {
        if !with_names && self.hidden_names.is_due() {
            tracing::info!(
                peer = peer.addr.map(display),
                "hid the names of callers in /metrics: the Host header is not in admin.hosts"
            );
        }
        let accept = req
            .headers
            .get(ACCEPT)
            .map_or(&b""[..], HeaderValue::as_bytes);
        let metrics = &self.handles.metrics;
        const WANTED: &[u8] = b"application/openmetrics-text";
        match accept
            .windows(WANTED.len())
            .any(|part| part.eq_ignore_ascii_case(WANTED))
        {
            true => {
                self.made(peer, metrics::OPEN_METRICS, || {
                    metrics.open_metrics(with_names)
                })
                .await
            }
            false => {
                self.made(peer, metrics::PLAIN_TEXT, || metrics.plain_text(with_names))
                    .await
            }
        }
    }

    /// A response with what `make` makes, as soon as there is a permit for it. The permit is given
    /// back with the memory.
    async fn made(
        &self,
        peer: &Arc<PeerInfo>,
        media_type: &'static str,
        make: impl FnOnce() -> String,
    ) -> Page {
        let Some(mut permit) = self.permits.acquire().await else {
            return text(
                StatusCode::SERVICE_UNAVAILABLE,
                "too many responses are being read\n",
            );
        };
        let making = self.making.lock().await;
        let began = Instant::now();
        let text = make();
        // Half of the thread's time is left to probes, and to the token task, whoever asks for how
        // many pages.
        sleep(began.elapsed()).await;
        drop(making);
        self.permits.limit(&mut permit, peer);
        with_type(
            media_type,
            Bytes::from_owner(Made {
                text,
                _permit: permit,
            }),
        )
    }

    fn is_called_rightly(&self, req: &Parts, peer: &PeerInfo) -> bool {
        let hosts = req.headers.get_all(HOST).iter().map(HeaderValue::as_bytes);
        let named = req
            .uri
            .authority()
            .map(|authority| authority.as_str().as_bytes());
        hosts
            .chain(named)
            .all(|host| self.hosts.has(host, peer.local))
    }
}

/// Text that was made for one response, with its permit.
struct Made {
    text: String,
    _permit: Permit,
}

impl AsRef<[u8]> for Made {
    fn as_ref(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

fn text(status: StatusCode, text: impl Into<Bytes>) -> Page {
    let mut res = with_type("text/plain; charset=utf-8", text);
    *res.status_mut() = status;
    res
}

fn with_type(media_type: &'static str, text: impl Into<Bytes>) -> Page {
    let mut res = Response::new(Full::new(text.into()));
    res.headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    res
}

fn refused(methods: &'static str) -> Page {
    let mut res = text(
        StatusCode::METHOD_NOT_ALLOWED,
        "this method is for nothing here\n",
    );
    res.headers_mut()
        .insert(ALLOW, HeaderValue::from_static(methods));
    res
}
