//! GBG's side: a pool of connections to one origin, and the way of one request over one of them.
//!
//! Each worker has an upstream of its own, so that no lock or count here is ever fought over between cores.

mod connector;
mod egress;
mod exchange;
mod pool;
mod progress;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, HeaderMap};
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Response, Uri, Version};
use hyper::body::Body;

use self::connector::Connector;
pub use self::egress::{TunnelError, tunnel};
pub use self::exchange::Answer;
use self::pool::{Pool, Slot};
use crate::config;
use crate::error::{Cause, Error};

/// The API, as one worker reaches it.
pub struct Upstream<B> {
    connector: Connector,
    pool: Arc<Pool<B>>,
    authority: HeaderValue,
    response_timeout: Duration,
}

impl<B> Upstream<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Cause>,
{
    /// The upstream that `config` describes. Opens nothing yet.
    ///
    /// # Errors
    /// When one of `config.roots` cannot be used, or the host has no name that TLS can check.
    pub fn new(config: &config::Upstream) -> Result<Self, Cause> {
        Ok(Upstream {
            connector: Connector::new(config)?,
            pool: Arc::new(Pool::new(config.idle_timeout)),
            // A copy of its own: a clone would share a reference count with the other workers.
            authority: HeaderValue::from_bytes(config.origin.authority.as_bytes())?,
            response_timeout: config.response_timeout,
        })
    }

    /// Sends `req` to the API, whatever host it names. The answer comes as its head arrives; its body streams. A
    /// connection may take seconds to open: after that `renew` sees whether the fields may still be sent as they are.
    ///
    /// # Errors
    /// `UpstreamUnreachable` and those of `renew` when nothing was sent; the other kinds when the request may have
    /// arrived.
    pub async fn send(
        &self,
        mut req: Request<B>,
        renew: impl Fn(&mut HeaderMap) -> Result<(), Error>,
    ) -> Result<Response<Answer<B>>, Error> {
        self.aim(&mut req);
        loop {
            let (slot, pooled) = match self.pool.take() {
                Some(slot) => (slot, true),
                // Boxed: what a handshake holds is some kilobytes, which each request would carry about.
                None => {
                    let slot = Box::pin(self.open()).await?;
                    if let Err(error) = renew(req.headers_mut()) {
                        self.pool.take_back(slot);
                        return Err(error);
                    }
                    (slot, false)
                }
            };
            match slot.exchange(req, self.response_timeout, &self.pool).await {
                Ok(res) => return Ok(res),
                // The pooled connection had died before a byte was sent; a fresh one is next in the end.
                Err(failed) => match failed.unsent {
                    Some(unsent) if pooled => req = unsent,
                    _ => return Err(failed.error),
                },
            }
        }
    }

    /// Closes idle connections as they grow too old, for as long as it is polled.
    pub async fn close_idle(&self) {
        self.pool.close_idle().await;
    }

    /// Points `req` at the origin of the configuration: a target in origin-form, byte for byte what the caller sent
    /// behind its authority, and a Host of ours (RFC 9112 section 3.2.1).
    fn aim(&self, req: &mut Request<B>) {
        let target = req.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        *req.uri_mut() = Uri::from(target);
        *req.version_mut() = Version::HTTP_11;
        req.headers_mut().insert(HOST, self.authority.clone());
    }

    async fn open(&self) -> Result<Slot<B>, Error> {
        self.connector.open().await.map_err(Error::UpstreamUnreachable)
    }
}
