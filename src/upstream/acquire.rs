//! Acquisition of a connection for one request: from the pool, from the HTTP/2 client, or newly
//! opened.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::Either;
use http::{Request, Response};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::body::OutgoingBody;
use super::connection_limit::{ConnectionLimit, ConnectionPermit};
use super::connector::{Connector, NewConnection};
use super::failure::{ExchangeError, wait_error};
use super::http1::exchange::Http1Body;
use super::http1::pool::{Http1Pool, PooledConnection};
use super::http2::client::Http2Client;
use super::http2::exchange::Http2Body;
use super::http2::lease::StreamLease;
use super::timeouts::UpstreamTimeouts;
use crate::config;
use crate::error::{BoxError, Error};
use crate::metrics::AccountMetrics;

/// HTTP/1.1 connections that a worker opens at once. When the API stalls and all connections are
/// busy, each waiting request would open one more, and the handshakes would delay the responses.
const MAX_OPENING: usize = 32;

/// New HTTP/1.1 connections that may die before a byte of one request is sent.
const MAX_LOST_HTTP1: u32 = 1;

/// HTTP/2 connections that may end between acquisition and use, for one request.
const MAX_LOST_HTTP2: u32 = 2;

/// The body of a response. Its connection or stream is free again at the end; dropping it earlier
/// closes the connection or resets the stream. The HTTP/2 body is boxed: it is larger, and less
/// common.
pub(crate) type UpstreamBody<B> = http_body_util::Either<Http1Body<B>, Box<Http2Body<B>>>;

/// The connections of one worker, of both HTTP versions.
pub(super) struct ConnectionSource<B> {
    pub(super) connector: Arc<Connector>,
    pub(super) pool: Arc<Http1Pool<B>>,
    /// `None` if the configuration allows HTTP/1.1 only.
    pub(super) http2: Option<Arc<Http2Client<B>>>,
    opening: Semaphore,
}

/// A connection or stream for one request.
pub(super) struct Acquired<B> {
    pub(super) transport: Transport<B>,
    /// Whether acquiring took time, so that the bearer may have expired.
    pub(super) has_waited: bool,
}

pub(super) enum Transport<B> {
    Http1 {
        connection: PooledConnection<B>,
        is_reused: bool,
    },
    Http2(Arc<Http2Client<B>>, StreamLease),
}

/// An idle HTTP/1.1 connection, or a new one of either version.
pub(super) enum IdleOrNew<B> {
    Idle(PooledConnection<B>),
    New(NewConnection<B>),
}

/// Permission to open a connection, and to keep it.
struct OpenPermits<'a> {
    _opening: SemaphorePermit<'a>,
    connection: ConnectionPermit,
}

impl<B: OutgoingBody> ConnectionSource<B> {
    pub(super) fn new(
        config: &config::Upstream,
        account: Arc<AccountMetrics>,
        limit: ConnectionLimit,
    ) -> Result<Self, BoxError> {
        let timeouts = UpstreamTimeouts::new(config);
        let connector = Arc::new(Connector::new(config, timeouts, account, limit)?);
        let pool = Arc::new(Http1Pool::new(timeouts));
        let http2 = if connector.allows_http2() {
            Some(Arc::new(Http2Client::new(config, &connector, &pool)?))
        } else {
            None
        };
        Ok(ConnectionSource {
            connector,
            pool,
            http2,
            opening: Semaphore::new(MAX_OPENING),
        })
    }

    /// The HTTP/2 client, unless the API picks HTTP/1.1.
    pub(super) fn http2(&self) -> Option<&Arc<Http2Client<B>>> {
        self.http2.as_ref().filter(|http2| !http2.is_declined())
    }

    /// Acquires a connection or stream; with `needs_new` no idle HTTP/1.1 connection.
    pub(super) async fn acquire(&self, needs_new: bool) -> Result<Acquired<B>, Error> {
        loop {
            if let Some(http2) = self.http2()
                // Boxed, like the handshake below: both need kilobytes that every request would move.
                && let Some(lease) = Box::pin(http2.acquire()).await?
            {
                return Ok(Acquired {
                    transport: Transport::Http2(Arc::clone(http2), lease),
                    has_waited: true,
                });
            }
            if !needs_new && let Some(connection) = self.pool.checkout().await {
                return Ok(Acquired::http1(connection, true, false));
            }
            match Box::pin(self.wait_or_open(needs_new)).await? {
                IdleOrNew::Idle(connection) => return Ok(Acquired::http1(connection, true, true)),
                IdleOrNew::New(NewConnection::Http1(connection)) => {
                    return Ok(Acquired::http1(connection, false, true));
                }
                IdleOrNew::New(NewConnection::Http2(connection)) => {
                    if let Some(http2) = &self.http2 {
                        http2.add(connection);
                    }
                }
            }
        }
    }

    /// Opens a connection; unless `needs_new`, returns one that becomes idle first.
    pub(super) async fn wait_or_open(&self, needs_new: bool) -> Result<IdleOrNew<B>, Error> {
        let limit = &self.connector.limit;
        let start = limit.wait_start();
        // While the circuit is open, the connections that are opening have hung for long, and
        // predict nothing.
        let opened = if self.connector.circuit_breaker.is_open() && !limit.is_exhausted() {
            self.connector.open_now().await
        } else {
            let permits = match self.try_acquire_permits() {
                Some(permits) => permits,
                None => match timeout(self.pool.timeouts.connect, self.wait(needs_new)).await {
                    Ok(Either::Left(connection)) => return Ok(IdleOrNew::Idle(connection)),
                    Ok(Either::Right(permits)) => permits?,
                    Err(_) => return Err(wait_error(limit, start, self.connector.peer())),
                },
            };
            self.connector.open_if_admitted(permits.connection).await
        };
        opened
            .map(IdleOrNew::New)
            .map_err(Error::UpstreamUnreachable)
    }

    fn try_acquire_permits(&self) -> Option<OpenPermits<'_>> {
        Some(OpenPermits {
            _opening: self.opening.try_acquire().ok()?,
            connection: self.connector.limit.try_acquire().ok()?,
        })
    }

    async fn acquire_permits(&self) -> Result<OpenPermits<'_>, Error> {
        // In this order: waiting for the limit keeps no other request from opening.
        let connection = self.connector.limit.acquire().await;
        let connection = connection.map_err(|closed| Error::UpstreamUnreachable(closed.into()))?;
        let opening = self.opening.acquire().await;
        let opening = opening.map_err(|closed| Error::UpstreamUnreachable(closed.into()))?;
        Ok(OpenPermits {
            _opening: opening,
            connection,
        })
    }

    /// Waits for a connection that becomes idle, or for permits to open one.
    async fn wait(
        &self,
        needs_new: bool,
    ) -> Either<PooledConnection<B>, Result<OpenPermits<'_>, Error>> {
        if self.connector.limit.is_reached() {
            if needs_new {
                self.pool.close_oldest();
            }
            if let Some(http2) = &self.http2 {
                http2.close_unused();
            }
        }
        if needs_new {
            return Either::Right(self.acquire_permits().await);
        }
        let mut idle = self.pool.wait_for_idle();
        let permits = tokio::select! {
            biased;
            Ok(connection) = &mut idle => return Either::Left(connection),
            permits = self.acquire_permits() => permits,
        };
        // A connection may have become idle at the same time.
        idle.close();
        idle.try_recv().map_or(Either::Right(permits), Either::Left)
    }

    /// Whether `min_idle` connections stay usable for `duration`; over HTTP/2 one is enough.
    pub(super) fn is_ready_for(&self, duration: Duration, min_idle: usize) -> bool {
        match self.http2() {
            Some(http2) => http2.is_ready_for(duration),
            None => self.pool.count_usable_for(duration) >= min_idle,
        }
    }
}

impl<B> Acquired<B> {
    fn http1(connection: PooledConnection<B>, is_reused: bool, has_waited: bool) -> Self {
        Acquired {
            transport: Transport::Http1 {
                connection,
                is_reused,
            },
            has_waited,
        }
    }
}

impl<B: OutgoingBody> Transport<B> {
    /// Sends `req`, and waits for the response head.
    pub(super) async fn exchange(
        self,
        req: Request<B>,
        source: &ConnectionSource<B>,
    ) -> Result<Response<UpstreamBody<B>>, ExchangeError<B>> {
        match self {
            Transport::Http1 {
                connection,
                is_reused,
            } => {
                if is_reused {
                    source.connector.account.record_reuse();
                }
                let res = connection.exchange(req, &source.pool, is_reused).await?;
                Ok(res.map(UpstreamBody::Left))
            }
            Transport::Http2(http2, lease) => {
                // Boxed: the future of a request over HTTP/1.1 would have to hold this one.
                let res = Box::pin(http2.exchange(lease, req)).await?;
                Ok(res.map(|body| UpstreamBody::Right(Box::new(body))))
            }
        }
    }

    /// Gives the connection or stream back unused.
    pub(super) fn release(self, pool: &Arc<Http1Pool<B>>) {
        if let Transport::Http1 { connection, .. } = self {
            pool.release(connection);
        }
    }

    /// How many connections of this kind one request may lose before a byte of it is sent; `None`
    /// for pooled ones, which end with a new one at the latest.
    pub(super) fn max_lost(&self) -> Option<u32> {
        match self {
            Transport::Http1 { is_reused, .. } => (!is_reused).then_some(MAX_LOST_HTTP1),
            Transport::Http2(..) => Some(MAX_LOST_HTTP2),
        }
    }
}
