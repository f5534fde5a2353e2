//! Callers: send each request according to its plan, over HTTP/1.1 or HTTP/2, and record the
//! outcome.

mod http1;
mod http2;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::HeaderMap;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::http1::Ended;
use crate::ledger::{Ledger, Outcome};
use crate::plan::{Http, Plans, SESSION_REQUESTS};
use crate::wire::{REQUEST, Tag};

const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);

/// Loopback addresses of callers: one address would run out of ports.
const SOURCE_ADDRESSES: u64 = 64;

/// The shared part of all callers.
#[derive(Clone)]
pub(crate) struct Callers {
    pub(crate) proxy: SocketAddr,
    pub(crate) plans: Plans,
    pub(crate) ledger: Arc<Ledger>,
    /// Time after which no more requests begin.
    pub(crate) deadline: Option<Instant>,
}

/// The ids of one connection.
type Ids = std::ops::Range<u64>;

impl Callers {
    /// Sends `requests` requests over `concurrency` concurrent connections.
    pub(crate) async fn send(&self, requests: u64, concurrency: usize) {
        let next = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        for _ in 0..concurrency {
            let (callers, next) = (self.clone(), Arc::clone(&next));
            tasks.spawn(async move {
                while !callers.is_over() {
                    let session = next.fetch_add(1, Ordering::Relaxed);
                    let ids =
                        session * SESSION_REQUESTS..requests.min((session + 1) * SESSION_REQUESTS);
                    if ids.is_empty() {
                        return;
                    }
                    callers.session(session, ids).await;
                }
            });
        }
        while tasks.join_next().await.is_some() {}
    }

    fn is_over(&self) -> bool {
        self.deadline
            .is_some_and(|deadline| Instant::now() >= deadline)
    }

    async fn session(&self, session: u64, ids: Ids) {
        let plan_session = self
            .plans
            .only
            .map_or(session, |only| only / SESSION_REQUESTS);
        match self.plans.caller_http(plan_session) {
            Http::One => http1::session(self, ids).await,
            Http::Two => http2::session(self, session, ids).await,
        }
    }

    async fn connect(&self, id: u64) -> Option<TcpStream> {
        let socket = TcpSocket::new_v4().ok()?;
        let source = u8::try_from(id / SESSION_REQUESTS % SOURCE_ADDRESSES).unwrap_or(0);
        // Fails where loopback is not all of 127.0.0.0/8.
        let _ = socket.bind(SocketAddr::from(([127, 0, 0, source + 1], 0)));
        let stream = socket.connect(self.proxy).await.ok()?;
        let _ = stream.set_nodelay(true);
        Some(stream)
    }

    /// The tag of the request `id`.
    fn tag(&self, id: u64) -> Tag {
        Tag {
            id,
            attempt: REQUEST,
            length: self.plans.plan(id).request.length,
        }
    }
}

/// The outcome of a response with `status` and `fields`, of whose body `body` arrived.
fn outcome(status: u16, fields: &HeaderMap, body: &[u8], ended: Ended) -> Outcome {
    let tag = Tag::from_response(fields);
    let own = fields
        .get("proxy-status")
        .and_then(|value| value.to_str().ok());
    match (own, tag) {
        (Some(own), _) => {
            let reason = own
                .split("details=\"")
                .nth(1)
                .and_then(|rest| rest.split('"').next());
            Outcome::Own(format!("{status} {}", reason.unwrap_or("without details")))
        }
        // hyper's parser responds before any service runs.
        (None, None) if matches!(status, 400 | 408 | 431) && body.is_empty() => {
            Outcome::Own(format!("{status} bare"))
        }
        (None, tag) => {
            let content = tag.map(|tag| tag.inspect(body)).unwrap_or_default();
            Outcome::Response {
                status,
                tag,
                content,
                ended,
            }
        }
    }
}
