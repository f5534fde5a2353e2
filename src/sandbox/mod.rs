//! A GBG GO of our own, for the demo, tests and load tests: a token endpoint and both API versions
//! on one port.
//!
//! ```text
//!             ┌─▶ token_endpoint ─▶ issue ─▶ tokens
//!   mod ──────┤                        ▲ whose bearer is it?
//!    │ fate   ├─▶ call ─▶ api_v1, api_v2 ─▶ journeys
//!    ▼        └─▶ control ─▶ faults
//! ```
//!
//! What goes wrong does so on purpose: each call gets its fate from the faults in force
//! ([`Sandbox::set_faults`]), and its answer leaves as the fate lets it.
//!
//! It speaks in the shapes that GBG documents, and in what was seen of it where the documentation
//! is silent. What neither tells is marked "invented". It keeps no data of what is submitted, and
//! tells each call to whoever asks ([`Sandbox::seen`]).

mod api_v1;
mod api_v2;
mod body;
mod call;
mod call_log;
mod certificate;
mod control;
mod extras;
mod fault_syntax;
mod faults;
mod faulty_body;
mod inject;
mod issue;
mod journeys;
mod options;
mod random;
mod refusal;
mod response;
mod token_endpoint;
mod tokens;

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use http::request::Parts;
use http::{Request, StatusCode};
use rustls::pki_types::CertificateDer;
use tokio::sync::{Semaphore, broadcast, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tower::service_fn;

use self::body::Arriving;
use self::call::Call;
use self::call_log::Record;
pub use self::call_log::{Authorization, Seen};
use self::certificate::Certificate;
pub use self::fault_syntax::FaultError;
pub use self::faults::{Fault, FaultKind, TokenBody};
use self::faulty_body::Stopped;
use self::inject::{End, Fate, InForce, Place};
use self::journeys::Journeys;
pub use self::options::Options;
use self::refusal::Refusal;
use self::response::Answer;
use self::tokens::Tokens;
use crate::config::{Address, SocketMode};
use crate::downstream::{self, CallerBody, RefusalLog, Timeouts};
use crate::gbg::{self, ApiVersion, V1, V2};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const SOURCE: HeaderName = HeaderName::from_static("x-gbg-source");

/// How long a sandbox that stops waits for calls in flight.
const STOP_LIMIT: Duration = Duration::from_secs(2);

/// A running sandbox. When it is dropped it stops listening, and its connections end after the call
/// in flight.
pub struct Sandbox {
    shared: Arc<Shared>,
    addr: SocketAddr,
    certificate: Option<(CertificateDer<'static>, String)>,
    /// That it turns true or is gone is the sign to stop.
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

impl Sandbox {
    /// Binds the address, and serves on the current runtime.
    ///
    /// # Errors
    /// When the address cannot be bound, or no certificate can be made.
    pub async fn start(options: Options) -> io::Result<Self> {
        let address = Address::Tcp(options.address);
        // The mode is for Unix sockets.
        let socket = downstream::bind(&address, SocketMode(0o600), 1)?.pop();
        let socket = socket.ok_or(io::ErrorKind::AddrNotAvailable)?;
        let Address::Tcp(addr) = socket.address()? else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let certificate = options
            .tls
            .then(|| Certificate::make(addr.ip()))
            .transpose()?;
        let acceptor = certificate
            .as_ref()
            .map(|made| downstream::ServerTls::new(&made.identity, &[]))
            .transpose();
        let connections = downstream::ServerOptions {
            tls: acceptor
                .map_err(io::Error::other)?
                .map(|only| watch::channel(only).1),
            timeouts: Timeouts {
                handshake: Duration::from_secs(10),
                header: Duration::from_secs(10),
                keep_alive: Duration::from_secs(75),
                body: Duration::from_secs(60),
                max_age: Duration::from_secs(3600),
            }
            .fixed(),
            max_h2_streams: 256,
            title_case_headers: false,
            max_buffer_bytes: downstream::MAX_BUFFER_BYTES,
            // A load test decides how many it opens.
            connection_permits: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
            evicting_limit: None,
            connection_metrics: Arc::default(),
            refusal_log: RefusalLog::new("sandbox", Arc::default()),
        };
        let (stop, stopped) = watch::channel(false);
        let shared = Arc::new(Shared {
            base_url: base_url(addr, options.tls),
            stopped: stopped.clone(),
            state: Mutex::new(State {
                faults: InForce::new(options.faults.iter().cloned()),
                tokens: Tokens::default(),
                token_calls: 0,
                journeys: Journeys::default(),
                record: Record::new(),
            }),
            options,
        });
        let serving = Arc::clone(&shared);
        let serving = tokio::spawn(async move {
            let service = service_fn(move |req| {
                let shared = Arc::clone(&serving);
                async move { Ok::<_, Infallible>(shared.answer(req).await) }
            });
            if let Err(error) = socket
                .serve(connections, stopped, move |_| service.clone())
                .await
            {
                tracing::error!(%error, "the sandbox cannot serve");
            }
        });
        let certificate = certificate.map(|made| (made.der, made.pem));
        Ok(Sandbox {
            shared,
            addr,
            certificate,
            stop,
            serving,
        })
    }

    /// Stops listening, and returns when the connections have ended, each after the call in flight;
    /// or after 2 seconds, when only the port is sure to be free. Calls that a fault holds back are
    /// cut off.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        // Whoever is not done by then is left to itself.
        let _ = timeout(STOP_LIMIT, self.serving).await;
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The origin: `https://localhost:PORT`, or `http://ADDRESS:PORT` without TLS.
    pub fn base_url(&self) -> String {
        self.shared.base_url.clone()
    }

    /// The URL of the token endpoint.
    pub fn token_endpoint(&self) -> String {
        format!("{}{}", self.shared.base_url, token_endpoint::PATH)
    }

    /// The certificate that a caller must trust, as PEM; `None` without TLS.
    pub fn ca_pem(&self) -> Option<&str> {
        self.certificate.as_ref().map(|(_, pem)| pem.as_str())
    }

    /// The certificate that a caller must trust; `None` without TLS.
    pub fn ca(&self) -> Option<CertificateDer<'static>> {
        self.certificate.as_ref().map(|(der, _)| der.clone())
    }

    /// Token requests so far, refused ones as well.
    pub fn token_calls(&self) -> u64 {
        self.shared.state().token_calls
    }

    /// Access tokens issued so far; the generation of the newest.
    pub fn tokens_issued(&self) -> u64 {
        self.shared.state().tokens.issued()
    }

    /// The newest 10,000 API calls, oldest first. A call is in it before its answer leaves.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.state().record.all()
    }

    /// API calls so far.
    pub fn api_calls(&self) -> u64 {
        self.shared.state().record.count()
    }

    /// The newest 10,000 access tokens that were issued, dead or alive, oldest first: for a test
    /// that looks for them where they must not be.
    pub fn issued_tokens(&self) -> Vec<String> {
        self.shared.state().tokens.all_access()
    }

    /// Ends every access token that was issued so far: calls with one get 401.
    pub fn revoke_all(&self) {
        self.shared.state().tokens.revoke_access();
    }

    /// Lets this go wrong from now on, and nothing else.
    pub fn set_faults(&self, faults: impl IntoIterator<Item = Fault>) {
        let faults = InForce::new(faults);
        self.shared.state().faults = faults;
    }

    /// Lets nothing go wrong any more; calls that a fault has hold of already stay as they are.
    pub fn clear_faults(&self) {
        self.set_faults([]);
    }

    /// What goes wrong from now on.
    pub fn faults(&self) -> Vec<Fault> {
        self.shared.state().faults.all().to_vec()
    }

    /// Gives each further API call.
    pub fn subscribe(&self) -> broadcast::Receiver<Seen> {
        self.shared.state().record.subscribe()
    }
}

fn base_url(addr: SocketAddr, tls: bool) -> String {
    if tls {
        return format!("https://localhost:{}", addr.port());
    }
    let ip = if addr.ip().is_unspecified() {
        IpAddr::from(Ipv4Addr::LOCALHOST)
    } else {
        addr.ip()
    };
    format!("http://{}", SocketAddr::new(ip, addr.port()))
}

/// What all connections share.
struct Shared {
    base_url: String,
    options: Options,
    stopped: Stopped,
    state: Mutex<State>,
}

struct State {
    faults: InForce,
    tokens: Tokens,
    token_calls: u64,
    journeys: Journeys,
    record: Record,
}

impl Shared {
    /// Every request passes here before anything answers it: what is to go wrong on purpose goes
    /// wrong here.
    async fn answer(&self, req: Request<CallerBody>) -> Answer {
        let (head, body) = req.into_parts();
        let mut body = Arriving::new(body);
        let request_id = random::uuid();
        let path = head.uri.path();
        let (mut answer, fate) = if path.starts_with(control::PREFIX) {
            (
                control::answer(self, &head, &mut body).await,
                Fate::default(),
            )
        } else if path == token_endpoint::PATH {
            let fate = self.state().faults.fate(Place::Token);
            (
                token_endpoint::answer(self, &head, &mut body, fate.end).await,
                fate,
            )
        } else {
            let fate = self.state().faults.fate(Place::Api);
            (
                self.answer_api(&head, &mut body, &request_id, fate.end)
                    .await,
                fate,
            )
        };
        if let Ok(value) = HeaderValue::try_from(request_id) {
            answer.headers_mut().insert(REQUEST_ID, value);
        }
        fate.befall(answer, &self.stopped).await
    }

    async fn answer_api(
        &self,
        head: &Parts,
        body: &mut Arriving,
        request_id: &str,
        end: Option<End>,
    ) -> Answer {
        let authorization = Authorization::of(&head.headers, &self.state().tokens);
        let version = gbg::find(head.uri.path()).0;
        let answer = match (end, version) {
            (Some(End::Status(status)), _) => Err(Refusal::Ordered(status)),
            (_, Some(ApiVersion::V1)) => {
                api_v1::answer(&mut Call::new(self, head, V1, &authorization, body)).await
            }
            (_, Some(ApiVersion::V2)) => {
                api_v2::answer(&mut Call::new(self, head, V2, &authorization, body)).await
            }
            (_, None) => Err(Refusal::NotFound("path")),
        };
        let answer = answer.unwrap_or_else(|refusal| refusal.answer(version));
        body.discard().await;
        self.remember(
            head,
            authorization,
            body.bytes(),
            request_id,
            answer.status(),
        );
        answer
    }

    fn remember(
        &self,
        head: &Parts,
        authorization: Authorization,
        body_bytes: u64,
        request_id: &str,
        status: StatusCode,
    ) {
        let path = head
            .uri
            .path_and_query()
            .map_or_else(|| head.uri.path(), |path| path.as_str());
        let seen = Seen {
            method: head.method.clone(),
            path: path.to_owned(),
            status,
            authorization,
            user_agent: text(&head.headers, &USER_AGENT),
            source: text(&head.headers, &SOURCE),
            fields: head.headers.keys().cloned().collect(),
            body_bytes,
            request_id: request_id.to_owned(),
        };
        self.state().record.add(seen);
    }

    /// The state; a panic elsewhere while it was locked leaves nothing half done that matters here.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers
        .get(name)
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests;
