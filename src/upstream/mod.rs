//! Client of the GBG API: connections to one origin, and the exchange of one request over one of
//! them.
//!
//! Each worker owns one, so cores never contend for a lock here. Over HTTP/1.1 a request has a
//! connection for itself (`http1`); over HTTP/2 it has a stream of one (`http2`).

mod acquire;
mod body;
mod circuit_breaker;
mod connect_deadline;
mod connection_limit;
mod connector;
mod dial;
mod egress_proxy;
mod failure;
mod http1;
mod http2;
mod idle;
mod io;
mod maintain;
mod peer;
#[cfg(test)]
mod tests;
mod timeouts;
mod watchdog;

use std::sync::Arc;

use http::header::{HOST, HeaderMap};
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Response, Uri, Version};

pub(crate) use self::acquire::UpstreamBody;
use self::acquire::{Acquired, ConnectionSource};
use self::body::OutgoingBody;
pub(crate) use self::connect_deadline::{ConnectDeadline, ConnectStep, DeadlineExceeded};
pub(crate) use self::connection_limit::ConnectionLimit;
pub(crate) use self::dial::{DialError, Dialed, Dialer, resolve_host};
pub(crate) use self::egress_proxy::{TunnelFailure, open_tunnel};
use self::failure::ExchangeError;
use self::http1::exchange::ExchangeResult;
pub(crate) use self::peer::{Peer, PeerError, TcpError};
use crate::config;
use crate::error::{BoxError, Error};
use crate::metrics::AccountMetrics;

/// Request extension: send over a new HTTP/1.1 connection, not over a pooled one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequireNewConnection;

/// The API as one worker reaches it.
pub(crate) struct UpstreamClient<B> {
    source: ConnectionSource<B>,
    authority: HeaderValue,
    /// Idle connections that are kept ready.
    min_idle: usize,
}

impl<B: OutgoingBody> UpstreamClient<B> {
    /// Creates the upstream of `account` without connections. It opens no more than `limit` allows.
    ///
    /// # Errors
    /// When a root in `config.roots` is unusable, or TLS cannot verify the host name.
    pub(crate) fn new(
        config: &config::Upstream,
        account: Arc<AccountMetrics>,
        limit: ConnectionLimit,
    ) -> Result<Self, BoxError> {
        Ok(UpstreamClient {
            source: ConnectionSource::new(config, account, limit)?,
            // Copied: a clone would share a reference count with the other workers.
            authority: HeaderValue::from_bytes(config.origin.authority.as_bytes())?,
            min_idle: config.min_idle.into(),
        })
    }

    /// Sends `req` to the API, whatever host it names. Returns when the response head arrives; the
    /// body streams. Opening a connection may take seconds: `refresh` runs after that, and updates
    /// fields that have expired.
    ///
    /// # Errors
    /// `UpstreamUnreachable`, `UpstreamRefused` and those of `refresh` when the API has not acted on the
    /// request; the other kinds when it may have. `UpstreamClosed` says that a pooled connection
    /// ended without a byte of a response.
    pub(crate) async fn send(
        &self,
        mut req: Box<Request<B>>,
        refresh: impl FnMut(&mut HeaderMap) -> Result<(), Error>,
    ) -> Result<Response<UpstreamBody<B>>, Error> {
        self.rewrite_target(&mut req);
        let unsent = match self.send_on_recent(req) {
            Ok(exchange) => match exchange.await {
                Ok(res) => return Ok(res.map(UpstreamBody::Left)),
                Err(ExchangeError {
                    unsent: Some(unsent),
                    ..
                }) => unsent,
                Err(failed) => return Err(self.add_peer(failed.error)),
            },
            Err(unsent) => unsent,
        };
        // Boxed: the future of every request would have to hold this one.
        let sent = Box::pin(self.send_on_any(unsent, refresh)).await;
        sent.map_err(|error| self.add_peer(error))
    }

    /// Sends `req` over a recently used HTTP/1.1 connection, or returns it if there is none.
    fn send_on_recent(
        &self,
        req: Box<Request<B>>,
    ) -> Result<impl Future<Output = ExchangeResult<B>> + Send + use<B>, Box<Request<B>>> {
        let source = &self.source;
        if source.http2().is_some() || req.extensions().get::<RequireNewConnection>().is_some() {
            return Err(req);
        }
        let Some(connection) = source.pool.checkout_recent() else {
            return Err(req);
        };
        source.connector.account.record_reuse();
        Ok(connection.exchange(*req, &source.pool, true))
    }

    /// Sends `req` over any connection. Takes another one if a connection ends before a byte is
    /// sent.
    async fn send_on_any(
        &self,
        mut req: Box<Request<B>>,
        mut refresh: impl FnMut(&mut HeaderMap) -> Result<(), Error>,
    ) -> Result<Response<UpstreamBody<B>>, Error> {
        let needs_new = req
            .extensions_mut()
            .remove::<RequireNewConnection>()
            .is_some();
        let mut lost = 0;
        loop {
            let Acquired {
                transport,
                has_waited,
            } = self.source.acquire(needs_new).await?;
            if has_waited && let Err(error) = refresh(req.headers_mut()) {
                transport.release(&self.source.pool);
                return Err(error);
            }
            let max_lost = transport.max_lost();
            let failed = match transport.exchange(*req, &self.source).await {
                Ok(res) => return Ok(res),
                Err(failed) => failed,
            };
            lost += u32::from(max_lost.is_some());
            match failed.unsent {
                Some(unsent) if max_lost.is_none_or(|max| lost <= max) => req = unsent,
                _ => return Err(failed.error),
            }
        }
    }

    /// Names the API in the cause of a connection that broke; other causes name what was dialed.
    fn add_peer(&self, error: Error) -> Error {
        let named = |source| PeerError::new(self.source.connector.peer(), source).into();
        match error {
            Error::UpstreamBroken(source) => Error::UpstreamBroken(named(source)),
            Error::UpstreamClosed(source) => Error::UpstreamClosed(named(source)),
            Error::UpstreamTimeout(source) => Error::UpstreamTimeout(named(source)),
            Error::UpstreamRefused {
                is_shutdown,
                source,
            } => Error::UpstreamRefused {
                is_shutdown,
                source: named(source),
            },
            other => other,
        }
    }

    /// Closes idle connections when they expire, and keeps some ready, for as long as it is polled.
    pub(crate) async fn maintain(&self) {
        self.source.maintain(self.min_idle).await;
    }

    /// Closes connections as soon as they are idle: another upstream has replaced this one.
    pub(crate) fn retire(&self) {
        self.source.pool.retire();
        if let Some(http2) = &self.source.http2 {
            http2.retire();
        }
    }

    /// Rewrites `req` for the configured origin: an origin-form target, byte for byte as the caller
    /// sent it after the authority, and the origin's Host (RFC 9112 section 3.2.1).
    fn rewrite_target(&self, req: &mut Request<B>) {
        let target = req
            .uri()
            .path_and_query()
            .cloned()
            .unwrap_or_else(|| PathAndQuery::from_static("/"));
        *req.uri_mut() = Uri::from(target);
        *req.version_mut() = Version::HTTP_11;
        req.headers_mut().insert(HOST, self.authority.clone());
    }
}
