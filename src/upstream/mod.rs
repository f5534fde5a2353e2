//! Client of the GBG API: connections to one origin, and the exchange of one request over one of them.
//!
//! Each worker owns one, so cores never contend for a lock here.

mod answer;
mod circuit_breaker;
mod connect_deadline;
mod connection_limit;
mod connector;
mod dial;
mod egress_proxy;
mod exchange;
mod http2;
mod pool;
mod progress;
mod timeouts;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::Either;
use http::header::{HOST, HeaderMap};
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Response, Uri, Version};
use hyper::body::Body;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};

pub(crate) use self::answer::UpstreamBody;
use self::answer::{AnswerSilent, Failed, body_error, no_connection, too_slow};
pub(crate) use self::connect_deadline::{ConnectDeadline, ConnectStep, DeadlineExceeded};
pub(crate) use self::connection_limit::ConnectionLimit;
use self::connection_limit::ConnectionPermit;
use self::connector::{Connector, Opened};
pub(crate) use self::dial::{DialError, Dialer, LookupError, resolve_host};
pub(crate) use self::egress_proxy::{TunnelError, open_tunnel};
use self::exchange::Exchanged;
use self::http2::{Http2, Sent};
use self::pool::{Pool, Slot};
use self::timeouts::Times;
use crate::config;
use crate::error::{BoxError, Error};
use crate::metrics::ConnectionMetrics;

/// Idle time after which a connection is polled before it is reused: the API may have closed it
/// unnoticed. The poll costs a system call, which the connections of a busy pool are spared. Before
/// an API that closes connections at random it halves the losses.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// HTTP/1.1 connections that a worker opens at once. When the API stalls and all are busy, each
/// waiting request would open one more, and the handshakes would delay the old ones' return.
const OPENING: usize = 32;

/// How often is looked whether as many connections are ready as are to be.
const WARMING: Duration = Duration::from_secs(1);

/// How seldom that is where they cannot be opened, or do not last.
const COOLEST: Duration = Duration::from_secs(30);

/// Marks a request that no pooled connection may carry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequireNewConnection;

/// Leave to open a connection now, and to have one more.
type Permits<'a> = Result<(SemaphorePermit<'a>, ConnectionPermit), Error>;

enum Obtained<B> {
    Idle(Slot<B>),
    Opened(Opened<B>),
}

/// The API, as one worker reaches it.
pub(crate) struct Upstream<B> {
    connector: Arc<Connector>,
    pool: Arc<Pool<B>>,
    opening: Semaphore,
    /// Only where HTTP/2 may be spoken.
    http2: Option<Arc<Http2<B>>>,
    authority: HeaderValue,
    /// Unused connections that are kept ready.
    min_idle: usize,
}

impl<B> Upstream<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    /// The upstream that `config` describes, which counts its `connections`, and has no more of
    /// them than `limit` allows. Opens nothing yet.
    ///
    /// # Errors
    /// When one of `config.roots` cannot be used, or the host has no name that TLS can check.
    pub(crate) fn new(
        config: &config::Upstream,
        connections: Arc<ConnectionMetrics>,
        limit: ConnectionLimit,
    ) -> Result<Self, BoxError> {
        let times = Times::new(config);
        let connector = Arc::new(Connector::new(config, times, connections, limit)?);
        let pool = Arc::new(Pool::new(times));
        let http2 = match connector.may_speak_http2() {
            true => Some(Arc::new(Http2::new(config, &connector, &pool)?)),
            false => None,
        };
        // A copy of its own: a clone would share a reference count with the other workers.
        let authority = HeaderValue::from_bytes(config.origin.authority.as_bytes())?;
        let (opening, min_idle) = (Semaphore::new(OPENING), config.min_idle.into());
        Ok(Upstream {
            connector,
            pool,
            opening,
            http2,
            authority,
            min_idle,
        })
    }

    /// Sends `req` to the API, whatever host it names. The answer comes as its head arrives; its
    /// body streams. A connection may take seconds to open: after that `renew` sees whether the
    /// fields may still be sent as they are.
    ///
    /// # Errors
    /// `UpstreamUnreachable` and those of `renew` when nothing was sent; the other kinds when the
    /// request may have arrived. `UpstreamClosed` is the one of them that says that the connection,
    /// a pooled one, ended without a byte of an answer.
    pub(crate) async fn send(
        &self,
        mut req: Box<Request<B>>,
        renew: impl Fn(&mut HeaderMap) -> Result<(), Error>,
    ) -> Result<Response<UpstreamBody<B>>, Error> {
        self.aim(&mut req);
        let unsent = match self.begin(req) {
            Ok(exchange) => match exchange.await {
                Ok(res) => return Ok(res.map(UpstreamBody::http1)),
                Err(Failed {
                    unsent: Some(unsent),
                    ..
                }) => unsent,
                Err(failed) => return Err(failed.error),
            },
            Err(unsent) => unsent,
        };
        // Boxed: what stands in this future is moved for each request.
        Box::pin(self.seek(unsent, renew)).await
    }

    /// Sends `req` over a connection that was used a moment ago, if there is one; else gives it
    /// back.
    fn begin(
        &self,
        req: Box<Request<B>>,
    ) -> Result<impl Future<Output = Exchanged<B>> + Send + use<B>, Box<Request<B>>> {
        if self.http2().is_some() || req.extensions().get::<RequireNewConnection>().is_some() {
            return Err(req);
        }
        let Some((slot, _)) = self.pool.take(LOOK_AGAIN) else {
            return Err(req);
        };
        self.connector.connections.record_reuse();
        Ok(slot.exchange(*req, &self.pool, true))
    }

    /// Sends `req`, which goes to the origin, over whatever connection it takes.
    async fn seek(
        &self,
        mut req: Box<Request<B>>,
        renew: impl Fn(&mut HeaderMap) -> Result<(), Error>,
    ) -> Result<Response<UpstreamBody<B>>, Error> {
        let fresh = req
            .extensions_mut()
            .remove::<RequireNewConnection>()
            .is_some();
        let mut looked = false;
        let mut opened_again = false;
        loop {
            // Boxed, like what a handshake holds: some kilobytes, which would be kept until the
            // answer comes.
            if let Some(http2) = self.http2() {
                match Box::pin(http2.send(*req, &renew)).await? {
                    Sent::Answered(res) => return Ok(res.map(UpstreamBody::http2)),
                    Sent::Declined(unsent) => *req = unsent,
                }
            }
            let idle = if fresh {
                None
            } else {
                self.pool.take(Duration::MAX)
            };
            let (slot, pooled) = match idle {
                // A close that has arrived is seen by the connection's task, which runs before this
                // one goes on.
                Some((slot, idle)) if idle > LOOK_AGAIN && !looked => {
                    looked = true;
                    yield_now().await;
                    if !slot.sender.is_ready() {
                        continue;
                    }
                    (slot, true)
                }
                Some((slot, _)) => (slot, true),
                None => {
                    let (slot, pooled) = match Box::pin(self.obtain(fresh)).await? {
                        Obtained::Idle(slot) => (slot, true),
                        Obtained::Opened(Opened::Http1(slot)) => (slot, false),
                        Obtained::Opened(Opened::Http2(connection)) => {
                            if let Some(http2) = &self.http2 {
                                http2.adopt(connection);
                            }
                            continue;
                        }
                    };
                    if let Err(error) = renew(req.headers_mut()) {
                        self.pool.take_back(slot);
                        return Err(error);
                    }
                    (slot, pooled)
                }
            };
            if pooled {
                self.connector.connections.record_reuse();
            }
            match slot.exchange(*req, &self.pool, pooled).await {
                Ok(res) => return Ok(res.map(UpstreamBody::http1)),
                // The pooled connection had died before a byte was sent; a fresh one is next in the
                // end. One that was opened for this request may die as well, but not time and
                // again.
                Err(failed) => match failed.unsent {
                    Some(unsent) if pooled || !opened_again => {
                        opened_again |= !pooled;
                        req = unsent;
                    }
                    _ => return Err(failed.error),
                },
            }
        }
    }

    /// HTTP/2, as far as it may be spoken and the API does not decline.
    fn http2(&self) -> Option<&Arc<Http2<B>>> {
        self.http2.as_ref().filter(|http2| !http2.is_declined())
    }

    /// Closes idle connections as they grow too old, and keeps some ready, for as long as it is
    /// polled.
    pub(crate) async fn maintain(&self) {
        tokio::join!(self.close_idle(), self.keep_warm());
    }

    async fn close_idle(&self) {
        loop {
            sleep(self.pool.times.idle / 2).await;
            self.pool.sweep();
            if let Some(http2) = &self.http2 {
                http2.sweep();
            }
        }
    }

    /// Looks again and again whether as many connections are ready as are to be; ever more seldom
    /// where they are not to be had.
    async fn keep_warm(&self) {
        if self.min_idle == 0 {
            return;
        }
        let mut pause = WARMING;
        loop {
            if self.is_warm() {
                pause = WARMING;
            } else {
                self.warm_up().await;
                pause = (pause * 2).min(COOLEST);
            }
            sleep(pause).await;
        }
    }

    /// Whether as many connections are ready as are to be, and will be at the next look.
    fn is_warm(&self) -> bool {
        let long = (WARMING * 2).min(self.pool.times.idle / 2);
        match self.http2() {
            Some(http2) => http2.is_ready(long),
            None => self.pool.ready(long) >= self.min_idle,
        }
    }

    /// Opens connections, one after the other, until as many are ready as are to be, or one cannot
    /// be opened.
    async fn warm_up(&self) {
        for _ in 0..self.min_idle {
            let connector = Arc::clone(&self.connector);
            // In a task of its own: a panic in it ends no more than that.
            let opened = tokio::spawn(async move { connector.try_open().await }).await;
            match (
                &self.http2,
                opened.unwrap_or_else(|panicked| Err(panicked.into())),
            ) {
                (Some(http2), Ok(opened)) => http2.take_in(opened).await,
                (None, Ok(Opened::Http1(slot))) => self.pool.take_in(slot).await,
                // It may not be spoken.
                (None, Ok(Opened::Http2(_))) => {}
                (_, Err(error)) => {
                    tracing::debug!(error, "no connection could be opened ahead of requests");
                    return;
                }
            }
            if self.is_warm() {
                return;
            }
        }
    }

    /// Closes connections as soon as they are idle: another upstream has taken the place of this
    /// one.
    pub(crate) fn retire(&self) {
        self.pool.retire();
        if let Some(http2) = &self.http2 {
            http2.retire();
        }
    }

    /// Points `req` at the origin of the configuration: a target in origin-form, byte for byte what
    /// the caller sent behind its authority, and a Host of ours (RFC 9112 section 3.2.1).
    fn aim(&self, req: &mut Request<B>) {
        let target = req
            .uri()
            .path_and_query()
            .cloned()
            .unwrap_or_else(|| PathAndQuery::from_static("/"));
        *req.uri_mut() = Uri::from(target);
        *req.version_mut() = Version::HTTP_11;
        req.headers_mut().insert(HOST, self.authority.clone());
    }

    /// A new connection; or, unless it is to be `fresh`, one that becomes idle while there are
    /// others that open.
    async fn obtain(&self, fresh: bool) -> Result<Obtained<B>, Error> {
        let limit = &self.connector.limit;
        let start = limit.wait_start();
        // While the circuit is open, those that open have hung for long, and say nothing of how
        // long this one would.
        if self.connector.circuit.is_open() && !limit.is_exhausted() {
            let opened = self.connector.open_at_once().await;
            return opened
                .map(Obtained::Opened)
                .map_err(Error::UpstreamUnreachable);
        }
        let at_once = match self.opening.try_acquire() {
            Ok(opening) => limit.try_acquire().ok().map(|permit| (opening, permit)),
            Err(_) => None,
        };
        let (_opening, permit) = match at_once {
            Some(permits) => permits,
            None => match timeout(self.pool.times.connect, self.wait(fresh)).await {
                Ok(Either::Left(slot)) => return Ok(Obtained::Idle(slot)),
                Ok(Either::Right(permits)) => permits?,
                Err(_) => return Err(no_connection(limit, start)),
            },
        };
        let opened = self.connector.open_with(permit).await;
        opened
            .map(Obtained::Opened)
            .map_err(Error::UpstreamUnreachable)
    }

    /// Waits for a connection that becomes idle, or for leave to open one.
    async fn wait(&self, fresh: bool) -> Either<Slot<B>, Permits<'_>> {
        let permits = async {
            // In this order: who waits for the limit keeps nobody from opening.
            let permit = self.connector.limit.acquire().await;
            let permit = permit.map_err(|closed| Error::UpstreamUnreachable(closed.into()))?;
            let opening = self.opening.acquire().await;
            let opening = opening.map_err(|closed| Error::UpstreamUnreachable(closed.into()))?;
            Ok((opening, permit))
        };
        if self.connector.limit.is_reached() {
            if fresh {
                self.pool.close_oldest();
            }
            if let Some(http2) = &self.http2 {
                http2.close_unused();
            }
        }
        if fresh {
            return Either::Right(permits.await);
        }
        let mut idle = self.pool.wait();
        let permits = tokio::select! {
            biased;
            Ok(slot) = &mut idle => return Either::Left(slot),
            permits = permits => permits,
        };
        // Both may have come at once.
        idle.close();
        idle.try_recv().map_or(Either::Right(permits), Either::Left)
    }
}
