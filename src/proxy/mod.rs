//! What happens to one request: the stack, read from top to bottom.

mod authenticate;
mod authorize;
mod body;
mod body_buffer;
mod context;
mod error_response;
mod forward;
mod headers;
mod limit;
mod observe;
mod reloadable;
mod replay;
mod request_id;
mod spans;
mod token_stub;
mod validate;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Body;
use tower::{Service, ServiceBuilder};

use self::authenticate::{AuthFailureThrottle, Callers, Known};
pub use self::authorize::Authorized;
pub use self::body::ProxyBody;
pub use self::context::WithContext;
pub(crate) use self::forward::forward;
use self::limit::{CallerQuotas, Door, Gate, Limited};
pub use self::reloadable::renewing;
pub use self::replay::RequestBody;
use self::token_stub::LoginForms;

use crate::config::{CertificateName, Config};
use crate::error::{BoxError, Error};
use crate::metrics::{self, Metrics};
use crate::token::Reader;
use crate::trace::SpanExporter;

/// What the workers share: who may call, how much is in flight, and who is told of traces.
#[derive(Debug)]
pub struct Shared {
    shares: CallerQuotas,
    guesses: Arc<AuthFailureThrottle>,
    gate: Arc<Gate>,
    login_forms: Arc<LoginForms>,
    exporter: Option<Arc<SpanExporter>>,
}

impl Shared {
    /// What `config` says of it; who is in flight, who waits, and who calls, is counted in
    /// `metrics`. Spans go to `exporter`.
    pub fn new(config: &Config, metrics: &Metrics, exporter: Option<Arc<SpanExporter>>) -> Self {
        let limits = &config.limits;
        let places = Arc::clone(&metrics.admission);
        let gate = Gate::new(
            limits.max_in_flight.get() as usize,
            limits.queue(),
            limits.queue_timeout,
            places,
        );
        Shared {
            shares: CallerQuotas::new(config, metrics, None),
            guesses: Arc::new(AuthFailureThrottle::new()),
            gate: Arc::new(gate),
            login_forms: Arc::new(LoginForms::new(Arc::clone(&metrics.login_forms))),
            exporter,
        }
    }

    /// What another `config` says of it, with what is in flight, and what is counted of callers who
    /// are as they were.
    pub fn renewed(&self, config: &Config, metrics: &Metrics) -> Self {
        let limits = &config.limits;
        self.gate.change(
            limits.max_in_flight.get() as usize,
            limits.queue(),
            limits.queue_timeout,
        );
        Shared {
            shares: CallerQuotas::new(config, metrics, Some(&self.shares)),
            guesses: Arc::clone(&self.guesses),
            gate: Arc::clone(&self.gate),
            login_forms: Arc::clone(&self.login_forms),
            exporter: self.exporter.clone(),
        }
    }

    /// Refuses what still waits for its turn, and what would: the process is about to end.
    pub fn drain(&self) {
        self.gate.drain();
    }
}

/// What the steps need to know. Each worker has its own, so that cores share nothing that is
/// counted, but for what they must.
#[derive(Debug)]
pub struct Rules {
    callers: Callers,
    door: Arc<Door>,
    guard: validate::Rules,
    login: token_stub::Rules,
    headers: headers::Rules,
    authorize: authorize::Rules,
    trace: spans::Rules,
    access_log: bool,
    heeds_retry_after: bool,
    metrics: Arc<metrics::WorkerMetrics>,
}

impl Rules {
    /// The rules that `config` describes, with `tokens` for the forwarded requests, which are
    /// counted in `metrics`.
    pub fn new(
        config: &Config,
        shared: &Shared,
        tokens: Reader,
        metrics: Arc<metrics::WorkerMetrics>,
    ) -> Self {
        Rules {
            callers: Callers::new(config, &shared.shares, Arc::clone(&shared.guesses)),
            door: Door::new(Arc::clone(&shared.gate)),
            guard: validate::Rules::new(config),
            login: token_stub::Rules::new(config, Arc::clone(&shared.login_forms)),
            headers: headers::Rules::new(&config.forward),
            authorize: authorize::Rules::new(config, tokens),
            trace: spans::Rules::new(config, shared.exporter.clone()),
            access_log: config.log.access,
            heeds_retry_after: config.limits.honor_retry_after,
            metrics,
        }
    }

    /// The caller at the other end of `connection`.
    pub fn peer(&self, connection: ConnectionInfo<'_>) -> Peer {
        let ConnectionInfo {
            addr,
            local,
            is_tls,
            names,
            certificate,
            uid,
        } = connection;
        Peer {
            addr,
            local,
            is_tls,
            certificate,
            known: self.callers.of_connection(names, uid),
        }
    }
}

/// A certificate that a caller showed when it connected, and that may lose its validity since.
pub trait CheckCertificate: std::fmt::Debug + Send + Sync {
    /// Whether it is still accepted; asked for each request.
    ///
    /// # Errors
    /// Why it is not, and what its caller can do.
    fn check(&self) -> Result<(), &'static str>;
}

/// What a connection shows of the caller at its other end.
#[derive(Clone, Debug, Default)]
pub struct ConnectionInfo<'a> {
    /// Where it calls from; `None` for a Unix socket.
    pub addr: Option<SocketAddr>,
    /// Where it called.
    pub local: Option<SocketAddr>,
    /// Whether it speaks TLS to us.
    pub is_tls: bool,
    /// The names in its certificate.
    pub names: &'a [CertificateName],
    /// The certificate.
    pub certificate: Option<Arc<dyn CheckCertificate>>,
    /// The user of its process.
    pub uid: Option<u32>,
}

/// Who sends the requests of a connection, as far as the connection tells.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    /// Where it calls from; `None` for a Unix socket.
    addr: Option<SocketAddr>,
    /// Where it called.
    local: Option<SocketAddr>,
    is_tls: bool,
    certificate: Option<Arc<dyn CheckCertificate>>,
    known: Option<Arc<Known>>,
}

impl Peer {
    /// Whether the certificate that the connection was opened with, if any, is still accepted.
    fn check_certificate(&self) -> Result<(), Error> {
        self.certificate
            .as_ref()
            .map_or(Ok(()), |shown| shown.check())
            .map_err(Error::CertificateEnded)
    }
}

/// A step of the stack, or all below one. It is always ready: load is shed in `call`, where there
/// is a request to answer.
pub trait Step<In, Out, E = Error>:
    Service<Request<In>, Response = Response<Out>, Error = E, Future: Send> + Clone + Send + 'static
{
}

impl<S, In, Out, E> Step<In, Out, E> for S where
    S: Service<Request<In>, Response = Response<Out>, Error = E, Future: Send>
        + Clone
        + Send
        + 'static
{
}

/// The last step, which takes nothing that is not authorized.
pub trait Forward<In, Out>:
    Service<Authorized<In>, Response = Response<Out>, Error = Error, Future: Send>
    + Clone
    + Send
    + 'static
{
}

impl<S, In, Out> Forward<In, Out> for S where
    S: Service<Authorized<In>, Response = Response<Out>, Error = Error, Future: Send>
        + Clone
        + Send
        + 'static
{
}

/// The way of every request of `peer`; `forward` is the last step.
pub fn stack<F, In, Out>(
    rules: &Arc<Rules>,
    peer: Peer,
    forward: F,
) -> impl Step<In, ProxyBody<Limited<Out>>, Infallible> + use<F, In, Out>
where
    F: Forward<WithContext<In>, Out>,
    In: Body<Data = Bytes, Error: Into<BoxError>> + Unpin + Send + 'static,
    Out: Body<Data = Bytes, Error: Into<BoxError>> + Unpin + Send + 'static,
{
    let peer = Arc::new(peer);
    ServiceBuilder::new()
        .layer(observe::layer(Arc::clone(rules), peer.addr))
        // Outside of everything that can fail: below, a failure is an `Error`; here it becomes an
        // answer.
        .layer(error_response::layer(Arc::clone(rules)))
        .layer(validate::layer(Arc::clone(rules), Arc::clone(&peer)))
        // Before anybody is asked who he is: this is where some say it for the first time.
        .layer(token_stub::layer(Arc::clone(rules), Arc::clone(&peer)))
        .layer(authenticate::layer(Arc::clone(rules), Arc::clone(&peer)))
        .layer(limit::layer(Arc::clone(rules)))
        // Hop-by-hop fields go out before anything of ours comes in, so that no Connection option
        // can remove it.
        .map_request(headers::request(Arc::clone(rules), peer))
        .map_response(headers::response)
        // Last, so that nothing else sees the token. Sends the request once more, if the API
        // refuses that.
        .layer(authorize::layer(Arc::clone(rules)))
        .service(forward)
}

/// The steps one by one, for the bench that counts what each costs.
#[doc(hidden)]
pub mod steps {
    pub use super::authenticate::layer as caller;
    pub use super::authorize::layer as authorize;
    pub use super::body::Answer;
    pub use super::error_response::layer as respond;
    pub use super::headers::{request, response};
    pub use super::limit::layer as limit;
    pub use super::observe::layer as observe;
    pub use super::token_stub::layer as login;
    pub use super::validate::layer as guard;
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use http_body_util::Full;

    use super::*;
    use crate::config::{Sources, load};
    use crate::upstream::{ConnectionLimit, Upstream};

    /// A configuration that needs no file, and whose upstream is never reached.
    pub(crate) fn config() -> Config {
        let set = [
            "upstream.base_url=http://127.0.0.1:1",
            "token.endpoint=http://127.0.0.1:1",
        ];
        let env = [("GBG_CLIENT_ID", "a"), ("GBG_CLIENT_SECRET", "s")];
        let env = env
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        load(&Sources {
            set: set.map(str::to_owned).into(),
            env,
            file: None,
        })
        .unwrap()
        .config
    }

    pub(crate) fn rules(config: &Config, tokens: Reader) -> Arc<Rules> {
        let shared = Shared::new(config, &Metrics::new(1), None);
        Arc::new(Rules::new(config, &shared, tokens, Arc::default()))
    }

    /// It is moved several times for each request, and held for each connection; `authorize` and
    /// what is below it have a box, into which they are moved. An async block too many, or a rare
    /// state that is not boxed, makes either tens of kilobytes.
    #[test]
    fn the_future_of_a_request_is_small() {
        let (_publisher, tokens) = crate::token::channel(Duration::from_secs(1), Arc::default());
        let rules = rules(&config(), tokens);
        let upstream = Upstream::<RequestBody<WithContext<Full<Bytes>>>>::new(
            &config().upstream,
            Arc::default(),
            ConnectionLimit::default(),
        )
        .unwrap();
        let forward = forward(Arc::new(upstream));
        let mut service = stack(
            &rules,
            rules.peer(ConnectionInfo::default()),
            forward.clone(),
        );
        let future = service.call(Request::new(Full::default()));
        assert!(
            size_of_val(&future) <= 432,
            "{} bytes",
            size_of_val(&future)
        );
        let req = context::observed(Request::new(Full::default()));
        let future = authorize::authorize_and_send(req, forward, rules);
        assert!(
            size_of_val(&future) <= 896,
            "{} bytes",
            size_of_val(&future)
        );
    }
}
