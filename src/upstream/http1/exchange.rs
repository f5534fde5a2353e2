//! Exchange of one request and its response over an HTTP/1.1 connection.

use std::error::Error as _;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::TRANSFER_ENCODING;
use http::{Request, Response, StatusCode};
use http_body::{Frame, SizeHint};
use hyper::body::{Body, Incoming};
use hyper::client::conn::TrySendError;

use super::super::body::{OutgoingBody, ProgressBody};
use super::super::failure::{
    ExchangeError, ResponseBodyTimeout, request_body_error, silence_error,
};
use super::framing::{declare_chunked_body, normalize_framing};
use super::pool::{Http1Pool, PooledConnection};
use crate::error::{BoxError, Error};
use crate::rt::wake_filter;

/// A connection in use, and the pool that it returns to.
struct ConnectionLease<B> {
    connection: PooledConnection<B>,
    pool: Arc<Http1Pool<B>>,
}

/// The head of a response, or the reason why there is none.
pub(in crate::upstream) type ExchangeResult<B> = Result<Response<Http1Body<B>>, ExchangeError<B>>;

impl<B: OutgoingBody> PooledConnection<B> {
    /// Sends `req` and waits for the response head until nothing moves for the response timeout.
    /// The connection returns to `pool` at the end of the response, and is closed if the exchange
    /// fails. `is_reused` if it has carried a request before.
    pub(in crate::upstream) fn exchange(
        mut self,
        req: Request<B>,
        pool: &Arc<Http1Pool<B>>,
        is_reused: bool,
    ) -> impl Future<Output = ExchangeResult<B>> + Send + use<B> {
        let mut req = req.map(|body| ProgressBody::new(body, &self.watchdog));
        declare_chunked_body(&mut req);
        // Boxed: hyper's future contains the request, and would be moved with every future around
        // it.
        let mut sent = Box::pin(self.sender.try_send_request(req));
        let mut lease = Some(ConnectionLease {
            connection: self,
            pool: Arc::clone(pool),
        });
        poll_fn(move |cx| {
            let Some(ConnectionLease { connection, pool }) = &mut lease else {
                // Polled after completion.
                return Poll::Pending;
            };
            let received = match sent.as_mut().poll(cx) {
                Poll::Ready(received) => Ok(received),
                Poll::Pending => {
                    let limit = pool.timeouts.response;
                    Err(ready!(connection.watchdog.poll_silent(cx, limit)))
                }
            };
            let Some(lease) = lease.take() else {
                return Poll::Pending;
            };
            Poll::Ready(match received {
                Ok(Ok(res)) => accept_head(res, lease),
                Ok(Err(error)) => {
                    let watchdog = &lease.connection.watchdog;
                    Err(send_error(
                        error,
                        is_reused && !watchdog.progress.has_received(),
                    ))
                }
                Err(silent) => {
                    let timeout = lease.pool.timeouts.response;
                    Err(silence_error(silent, timeout).into())
                }
            })
        })
    }
}

fn accept_head<B>(mut res: Response<Incoming>, lease: ConnectionLease<B>) -> ExchangeResult<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    let accepted = match res.status() {
        // No request asks for an upgrade: Upgrade is a hop-by-hop field, and removed.
        StatusCode::SWITCHING_PROTOCOLS => Err("it sent 101 Switching Protocols unasked"),
        _ => normalize_framing(res.headers_mut()),
    };
    match accepted {
        Ok(()) => Ok(res.map(|incoming| Http1Body::new(incoming, lease))),
        Err(problem) => Err(Error::UpstreamBroken(problem.into()).into()),
    }
}

/// Classifies an error of hyper; `was_closed` as for [`response_error`].
fn send_error<B>(
    mut error: TrySendError<Request<ProgressBody<B>>>,
    was_closed: bool,
) -> ExchangeError<B> {
    let unsent = error.take_message().map(|mut req| {
        // The next connection may be HTTP/2, which forbids the field.
        req.headers_mut().remove(TRANSFER_ENCODING);
        Box::new(req.map(ProgressBody::into_inner))
    });
    let error = if unsent.is_some() {
        Error::UpstreamUnreachable(error.into_error().into())
    } else {
        response_error(error.into_error(), was_closed)
    };
    ExchangeError { error, unsent }
}

/// The cause of a missing response; `was_closed` if a reused connection ended without one byte of
/// it.
fn response_error(error: hyper::Error, was_closed: bool) -> Error {
    if error.is_user() {
        // hyper's "user" is the source of the request body: the caller.
        request_body_error(error.source())
    } else if was_closed {
        Error::UpstreamClosed(error.into())
    } else {
        Error::UpstreamBroken(error.into())
    }
}

/// The body of a response. Its connection returns to the pool at the end, and is closed when the
/// body is dropped before.
pub(crate) struct Http1Body<B> {
    incoming: Incoming,
    lease: Option<ConnectionLease<B>>,
    /// Whether the reader waits for more.
    is_awaited: bool,
}

impl<B> Body for Http1Body<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Poll::Ready(frame) = wake_filter::poll_frame(&mut self.incoming, cx) else {
            ready!(self.poll_silent(cx));
            self.lease = None;
            return Poll::Ready(Some(Err(ResponseBodyTimeout.into())));
        };
        self.is_awaited = false;
        // A body of known length ends with its last frame: its reader may not poll again.
        if frame.is_none() || self.incoming.is_end_stream() {
            self.release();
        }
        Poll::Ready(frame.map(|frame| frame.map_err(BoxError::from)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl<B> Http1Body<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    fn new(incoming: Incoming, lease: ConnectionLease<B>) -> Self {
        let mut body = Http1Body {
            incoming,
            lease: Some(lease),
            is_awaited: false,
        };
        if body.incoming.is_end_stream() {
            // An empty body is never polled.
            body.release();
        }
        body
    }

    /// Ready when the API was silent for the body timeout. Only the time in which the reader waits
    /// counts, so a caller that reads slowly does not.
    fn poll_silent(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(ConnectionLease { connection, pool }) = &mut self.lease else {
            return Poll::Pending;
        };
        if !self.is_awaited {
            self.is_awaited = true;
            connection.watchdog.progress.record_progress();
        }
        connection
            .watchdog
            .poll_silent(cx, pool.timeouts.body)
            .map(drop)
    }

    fn release(&mut self) {
        if let Some(ConnectionLease { connection, pool }) = self.lease.take() {
            pool.release(connection);
        }
    }
}
