//! HTTP/2 client: gives each request a stream of a connection.
//!
//! A request waits for a stream. Streams become free when a connection opens or a stream ends, and
//! go to the waiting requests in their order. As many connections open as those need, and never
//! more than a few.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use http::uri::{Authority, Scheme};
use http::{Request, Response};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::timeout;

use super::super::body::OutgoingBody;
use super::super::connector::{Connector, NewConnection};
use super::super::failure::{ExchangeError, wait_error};
use super::super::http1::pool::Http1Pool;
use super::connection::Http2Connection;
use super::exchange::{Http2Body, TargetOrigin};
use super::lease::{StreamLease, StreamOwner, StreamSlot};
use super::pool::Http2Pool;
use crate::config;
use crate::error::{BoxError, Error};

/// The HTTP/2 side of one worker's upstream.
pub(in crate::upstream) struct Http2Client<B> {
    connector: Arc<Connector>,
    /// Receives connections on which the API picks HTTP/1.1.
    http1: Arc<Http1Pool<B>>,
    origin: TargetOrigin,
    /// Whether the API picked HTTP/1.1 on the most recent connection.
    is_declined: AtomicBool,
    pool: Mutex<Http2Pool<StreamGrant>>,
}

/// The result of waiting for a stream.
enum StreamGrant {
    Stream(StreamLease),
    /// The API picks HTTP/1.1.
    Declined,
    /// The error of opening a connection, for every request that waited for it.
    Failed(Arc<dyn std::error::Error + Send + Sync>),
}

impl<B: OutgoingBody> Http2Client<B> {
    pub(in crate::upstream) fn new(
        config: &config::Upstream,
        connector: &Arc<Connector>,
        http1: &Arc<Http1Pool<B>>,
    ) -> Result<Self, BoxError> {
        let scheme = if config.origin.tls {
            Scheme::HTTPS
        } else {
            Scheme::HTTP
        };
        Ok(Http2Client {
            connector: Arc::clone(connector),
            http1: Arc::clone(http1),
            origin: TargetOrigin {
                scheme,
                authority: Authority::try_from(config.origin.authority.as_bytes())?,
            },
            is_declined: AtomicBool::new(false),
            pool: Mutex::new(Http2Pool::new()),
        })
    }

    /// Whether the API picked HTTP/1.1 on the most recent connection.
    pub(in crate::upstream) fn is_declined(&self) -> bool {
        self.is_declined.load(Relaxed)
    }

    /// Acquires a stream; `None` if the API picks HTTP/1.1.
    pub(in crate::upstream) async fn acquire(
        self: &Arc<Self>,
    ) -> Result<Option<StreamLease>, Error> {
        if self.connector.circuit_breaker.is_open() {
            Box::pin(self.open_while_circuit_is_open()).await?;
            if self.is_declined() {
                return Ok(None);
            }
        }
        match self.wait_for_stream().await? {
            StreamGrant::Stream(lease) => Ok(Some(lease)),
            StreamGrant::Declined => Ok(None),
            StreamGrant::Failed(error) => Err(Error::UpstreamUnreachable(error.into())),
        }
    }

    /// Sends `req` over the stream of `lease`.
    pub(in crate::upstream) async fn exchange(
        &self,
        lease: StreamLease,
        req: Request<B>,
    ) -> Result<Response<Http2Body<B>>, ExchangeError<B>> {
        lease.exchange(req, &self.origin, self.http1.timeouts).await
    }

    /// Adds a connection that was opened for HTTP/1.1 requests.
    pub(in crate::upstream) fn add(self: &Arc<Self>, connection: Http2Connection) {
        self.is_declined.store(false, Relaxed);
        let mut pool = self.pool.lock();
        pool.add(connection);
        self.serve_queue(pool);
    }

    /// Adds a connection of either version that no particular request waits for.
    pub(in crate::upstream) async fn add_any(self: &Arc<Self>, opened: NewConnection<B>) {
        match opened {
            NewConnection::Http2(connection) => self.add(connection),
            NewConnection::Http1(connection) => {
                // Before the flag: requests that then use HTTP/1.1 have to find the connection.
                self.http1.add(connection).await;
                self.is_declined.store(true, Relaxed);
            }
        }
    }

    /// Whether a connection stays usable for `duration`, or one is opening.
    pub(in crate::upstream) fn is_ready_for(&self, duration: Duration) -> bool {
        let limits = &self.http1.timeouts.idle;
        self.pool.lock().is_ready_for(duration, limits)
    }

    /// Closes connections that are too old or idle for too long.
    pub(in crate::upstream) fn close_expired(&self) {
        self.pool.lock().close_expired(&self.http1.timeouts.idle);
    }

    /// Closes a connection without streams, to make room for one over HTTP/1.1.
    pub(in crate::upstream) fn close_unused(&self) {
        self.pool.lock().close_unused();
    }

    /// Closes connections when their active streams have ended.
    pub(in crate::upstream) fn retire(&self) {
        self.pool.lock().retire();
    }

    /// Opens a connection for one request at once, or fails, unless there is a connection to wait
    /// for: while the circuit is open, no request joins a queue that may never move.
    async fn open_while_circuit_is_open(self: &Arc<Self>) -> Result<(), Error> {
        if self.pool.lock().has_connection() || self.connector.limit.is_exhausted() {
            return Ok(());
        }
        let opened = self
            .connector
            .open_now()
            .await
            .map_err(Error::UpstreamUnreachable)?;
        self.add_any(opened).await;
        Ok(())
    }

    /// Waits for a stream, until the connect timeout.
    async fn wait_for_stream(self: &Arc<Self>) -> Result<StreamGrant, Error> {
        let needs_poll = self.pool.lock().needs_poll();
        if needs_poll {
            // The connection's task runs before this one continues, and sees an end that has
            // arrived.
            yield_now().await;
        }
        let start = self.connector.limit.wait_start();
        let granted = {
            let mut pool = self.pool.lock();
            if pool.is_queue_empty()
                && let Some(slot) = pool.try_acquire()
            {
                return Ok(StreamGrant::Stream(self.lease(slot)));
            }
            let granted = pool.enqueue();
            self.serve_queue(pool);
            granted
        };
        match timeout(self.http1.timeouts.connect, granted).await {
            Ok(Ok(grant)) => Ok(grant),
            Ok(Err(dropped)) => Err(Error::UpstreamUnreachable(dropped.into())),
            Err(_) => Err(wait_error(
                &self.connector.limit,
                start,
                self.connector.peer(),
            )),
        }
    }

    fn lease(self: &Arc<Self>, slot: StreamSlot) -> StreamLease {
        let owner: Arc<dyn StreamOwner> = Arc::<Self>::clone(self);
        StreamLease::new(slot, owner)
    }

    /// Gives free streams to waiting requests, and opens connections for the others.
    fn serve_queue(self: &Arc<Self>, mut pool: MutexGuard<'_, Http2Pool<StreamGrant>>) {
        let served = pool.take_served();
        while pool.begin_opening() {
            tokio::spawn(Arc::clone(self).open_for_queue());
        }
        drop(pool);
        // Without the lock: a stream that the request does not want any more is released at once.
        for (waiter, slot) in served {
            let _ = waiter.send(StreamGrant::Stream(self.lease(slot)));
        }
    }

    /// Opens one connection when the limit allows it and if the circuit breaker does. A task of its
    /// own, so that a caller that hangs up does not take the connection away from others.
    async fn open_for_queue(self: Arc<Self>) {
        let limit = &self.connector.limit;
        if limit.is_reached() {
            // Idle HTTP/1.1 connections may hold all permits.
            self.http1.close_oldest();
        }
        let permit = limit.acquire().await;
        // Streams of other connections may have served the queue meanwhile.
        if !self.pool.lock().confirm_opening() {
            return;
        }
        let opened = match (self.connector.circuit_breaker.admit(), permit) {
            (Ok(attempt), Ok(permit)) => self.connector.open(attempt, permit).await,
            (Ok(_), Err(closed)) => Err(closed.into()),
            (Err(circuit_open), _) => {
                let stranded = self.pool.lock().refuse_opening();
                return fail_waiting(stranded, circuit_open.into());
            }
        };
        match opened {
            Ok(NewConnection::Http2(connection)) => {
                self.is_declined.store(false, Relaxed);
                let mut pool = self.pool.lock();
                pool.finish_opening(connection);
                self.serve_queue(pool);
            }
            Ok(http1 @ NewConnection::Http1(_)) => {
                self.add_any(http1).await;
                let waiting = self.pool.lock().decline_opening();
                for waiter in waiting {
                    let _ = waiter.send(StreamGrant::Declined);
                }
            }
            Err(cause) => {
                let mut pool = self.pool.lock();
                // Only the requests that it was opened for fail; the others wait for the next one.
                let waiting = pool.fail_opening();
                self.serve_queue(pool);
                fail_waiting(waiting, cause);
            }
        }
    }
}

fn fail_waiting(waiting: Vec<oneshot::Sender<StreamGrant>>, cause: BoxError) {
    let error: Arc<dyn std::error::Error + Send + Sync> = Arc::from(cause);
    for waiter in waiting {
        let _ = waiter.send(StreamGrant::Failed(error.clone()));
    }
}

impl<B: OutgoingBody> StreamOwner for Http2Client<B> {
    fn release(self: Arc<Self>, connection_id: u64) {
        let mut pool = self.pool.lock();
        pool.record_stream_end(connection_id);
        if !pool.is_queue_empty() {
            self.serve_queue(pool);
        }
    }
}
