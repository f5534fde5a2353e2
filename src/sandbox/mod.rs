//! Stand-in for GBG GO: a token endpoint and both API versions on one port, for the demo, tests and
//! load tests.
//!
//! ```text
//!             ┌─▶ token_endpoint ─▶ issue ─▶ tokens
//!   service ──┤                              ▲ checks the bearer
//!    │ plan   ├─▶ api ─▶ tasks, devices, api_v1, api_v2 ─▶ journey, scenario
//!    ▼        └─▶ control ─▶ faults    └─▶ interactions, loqate, schemas
//!   inject
//! ```
//!
//! The responses have the shapes that GBG documents, or that were observed where the documentation
//! is silent; anything else is marked "invented". Faults are injected on purpose
//! ([`Sandbox::set_faults`]). No submitted data is kept but scenarios. Each call is recorded for tests
//! ([`Sandbox::recorded_calls`]).

mod api;
mod api_call;
mod api_error;
mod api_v1;
mod api_v2;
mod authorization;
mod call_log;
mod certificate;
mod control;
mod devices;
mod fault_syntax;
mod faults;
mod faulty_body;
mod inject;
mod instance_rate;
mod interactions;
mod invented_calls;
mod issue;
mod journey;
mod loqate;
mod options;
mod random;
mod request_body;
mod response;
mod scenario;
mod scenario_calls;
mod schemas;
mod service;
mod state;
mod tasks;
mod token_endpoint;
mod tokens;

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::sync::{Semaphore, broadcast, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tower::service_fn;
use tower_http::catch_panic::CatchPanic;

pub use self::authorization::Authorization;
pub use self::call_log::RecordedCall;
use self::certificate::SandboxCertificate;
pub use self::fault_syntax::FaultError;
pub use self::faults::Fault;
use self::inject::ActiveFaults;
pub use self::options::SandboxOptions;
use self::state::SandboxContext;
use crate::config::{Address, SocketMode};
use crate::downstream::{self, RefusalLog, ServerTls, Timeouts};

/// The time that [`Sandbox::stop`] waits for calls in flight.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// A running sandbox. Dropped, it stops listening, and its connections end after the call in flight.
pub struct Sandbox {
    context: Arc<SandboxContext>,
    addr: SocketAddr,
    certificate: Option<SandboxCertificate>,
    /// True, or closed, makes the sandbox stop.
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

impl Sandbox {
    /// Binds the address, and serves on the current runtime.
    ///
    /// # Errors
    /// When the address cannot be bound, or no certificate can be made.
    pub async fn start(options: SandboxOptions) -> io::Result<Self> {
        let address = Address::Tcp(options.address);
        // The mode is for Unix sockets.
        let socket = downstream::bind(&address, SocketMode(0o600), 1)?.pop();
        let socket = socket.ok_or(io::ErrorKind::AddrNotAvailable)?;
        let Address::Tcp(addr) = socket.address()? else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let certificate = options
            .tls
            .then(|| SandboxCertificate::generate(addr.ip()))
            .transpose()?;
        let connections = connection_options(certificate.as_ref())?;
        let (stop, stopped) = watch::channel(false);
        let base_url = base_url(addr, options.tls);
        let context = Arc::new(SandboxContext::new(base_url, options, stopped.clone()));
        let serving = Arc::clone(&context);
        // A panic gets a 500 response: a closed connection would look like an injected reset.
        let service = CatchPanic::new(service_fn(move |request| {
            let context = Arc::clone(&serving);
            async move { Ok::<_, Infallible>(service::respond(&context, request).await) }
        }));
        let serving = tokio::spawn(async move {
            let served = socket.serve(connections, stopped, move |_| service.clone());
            if let Err(error) = served.await {
                tracing::error!(%error, "the sandbox cannot serve");
            }
        });
        Ok(Sandbox {
            context,
            addr,
            certificate,
            stop,
            serving,
        })
    }

    /// Stops listening, and returns when the connections have ended, each after the call in flight;
    /// after 2 seconds at the latest, when only the port is certain to be free. Calls that a fault
    /// holds back are cut off.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        // Connections that are still open end without being waited for.
        let _ = timeout(STOP_TIMEOUT, self.serving).await;
    }

    /// The address of the listener.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The origin: `https://localhost:PORT`, or `http://ADDRESS:PORT` without TLS.
    pub fn base_url(&self) -> String {
        self.context.base_url.clone()
    }

    /// The URL of the token endpoint.
    pub fn token_endpoint(&self) -> String {
        format!("{}{}", self.context.base_url, token_endpoint::PATH)
    }

    /// The root certificate that a client must trust, as PEM; `None` without TLS.
    pub fn ca_pem(&self) -> Option<&str> {
        let certificate = self.certificate.as_ref()?;
        Some(&certificate.pem)
    }

    /// The root certificate that a client must trust; `None` without TLS.
    pub fn ca(&self) -> Option<CertificateDer<'static>> {
        let certificate = self.certificate.as_ref()?;
        Some(certificate.der.clone())
    }

    /// The number of token requests, including refused ones.
    pub fn token_calls(&self) -> u64 {
        self.context.state().token_calls
    }

    /// The number of issued access tokens, which is the generation of the newest.
    pub fn tokens_issued(&self) -> u64 {
        self.context.state().tokens.access_count()
    }

    /// The newest 10,000 API calls, oldest first. A call is recorded before its response is sent.
    pub fn recorded_calls(&self) -> Vec<RecordedCall> {
        self.context.state().log.calls()
    }

    /// The number of API calls.
    pub fn api_calls(&self) -> u64 {
        self.context.state().log.total()
    }

    /// The newest 10,000 access tokens, valid or not, oldest first: a test looks for them where they
    /// must not be.
    pub fn issued_tokens(&self) -> Vec<String> {
        self.context.state().tokens.all_access()
    }

    /// Revokes every access token issued so far: calls with one get 401.
    pub fn revoke_all(&self) {
        self.context.state().tokens.revoke_access();
    }

    /// Replaces the active faults.
    pub fn set_faults(&self, faults: impl IntoIterator<Item = Fault>) {
        let faults = ActiveFaults::new(faults);
        self.context.state().faults = faults;
    }

    /// Removes all faults; calls that a fault holds back stay held back.
    pub fn clear_faults(&self) {
        self.set_faults([]);
    }

    /// The active faults.
    pub fn faults(&self) -> Vec<Fault> {
        self.context.state().faults.all().to_vec()
    }

    /// Subscribes to further API calls.
    pub fn subscribe(&self) -> broadcast::Receiver<RecordedCall> {
        self.context.state().log.subscribe()
    }
}

fn connection_options(
    certificate: Option<&SandboxCertificate>,
) -> io::Result<downstream::ServerOptions> {
    let tls = certificate
        .map(|certificate| ServerTls::new(&certificate.identity, &[]))
        .transpose()
        .map_err(io::Error::other)?;
    Ok(downstream::ServerOptions {
        tls: tls.map(|tls| watch::channel(tls).1),
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
        // A load test decides how many connections it opens.
        connection_permits: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
        evicting_limit: None,
        connection_metrics: Arc::default(),
        refusal_log: RefusalLog::new("sandbox", Arc::default()),
    })
}

fn base_url(addr: SocketAddr, tls: bool) -> String {
    if tls {
        return format!("https://localhost:{}", addr.port());
    }
    let mut addr = addr;
    if addr.ip().is_unspecified() {
        addr.set_ip(IpAddr::from(Ipv4Addr::LOCALHOST));
    }
    format!("http://{addr}")
}

#[cfg(test)]
mod tests;
