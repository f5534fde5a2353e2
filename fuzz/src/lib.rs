//! The stack with a leaf that keeps what it is given, for the targets that look at what would be
//! sent.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use gbg_proxy::config::{Config, Sources, load};
use gbg_proxy::error::Error;
use gbg_proxy::metrics::Metrics;
use gbg_proxy::proxy::{Authorized, ConnectionInfo, Policy, SharedState, WithContext, stack};
use gbg_proxy::token::{self, TokenReader};
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Empty;
use tokio::runtime::Runtime;
use tower::util::BoxCloneService;
use tower::{Service, ServiceExt, service_fn};

/// The bearer that the stack puts on a request.
pub const BEARER: &str = "Bearer fuzzed";

/// What the stack does with one request.
#[derive(Debug)]
pub enum Outcome {
    /// It would be sent like this.
    Sent(Box<Parts>),
    /// It is answered by the proxy.
    Refused(StatusCode),
}

/// The stack, ready to be called.
pub struct Gate {
    runtime: Runtime,
    service: BoxCloneService<Request<Empty<Bytes>>, StatusCode, Infallible>,
    sent: Arc<Mutex<Option<Parts>>>,
}

impl Gate {
    /// A stack that is configured with `set` over what it needs at least.
    pub fn new(set: &[&str]) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let config = config(set);
        let shared = SharedState::new(&config, &Metrics::new(1), None);
        let policy = Arc::new(Policy::new(
            &config,
            &shared,
            tokens(&runtime),
            &Default::default(),
            &Arc::default(),
        ));
        let sent = Arc::new(Mutex::new(None));
        let kept = Arc::clone(&sent);
        let leaf = service_fn(move |authorized: Authorized<WithContext<Empty<Bytes>>>| {
            *kept.lock().unwrap() = Some(authorized.req.into_parts().0);
            std::future::ready(Ok::<_, Error>(Response::new(Empty::<Bytes>::new())))
        });
        // As over a Unix socket, where a caller may name any host.
        let connection = policy.identify(ConnectionInfo {
            addr: Some(([192, 0, 2, 1], 4711).into()),
            ..ConnectionInfo::default()
        });
        let service = stack(&policy, connection, leaf).map_response(|res| res.status());
        Gate {
            runtime,
            service: BoxCloneService::new(service),
            sent,
        }
    }

    /// Lets `req` go through.
    pub fn pass(&mut self, req: Request<Empty<Bytes>>) -> Outcome {
        *self.sent.lock().unwrap() = None;
        let Ok(status) = self.runtime.block_on(self.service.call(req));
        match self.sent.lock().unwrap().take() {
            Some(parts) => Outcome::Sent(Box::new(parts)),
            None => Outcome::Refused(status),
        }
    }
}

fn config(set: &[&str]) -> Config {
    let least = [
        "upstream.base_url=http://127.0.0.1:1",
        "token.endpoint=http://127.0.0.1:1",
        "log.access=false",
    ];
    let set = least
        .iter()
        .chain(set)
        .map(|&text| text.to_owned())
        .collect();
    let env = [("GBG_CLIENT_ID", "fuzz"), ("GBG_CLIENT_SECRET", "fuzz")];
    let env = env
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    load(&Sources {
        set,
        env,
        file: None,
    })
    .unwrap()
    .config
}

/// A reader of a token that outlives any run.
fn tokens(runtime: &Runtime) -> TokenReader {
    let lifetime = Duration::from_secs(365 * 86_400);
    let token = token::fixed(HeaderValue::from_static(BEARER), lifetime);
    runtime.block_on(token).unwrap()
}
