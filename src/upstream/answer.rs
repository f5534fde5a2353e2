//! What comes back: the body of an answer, or why there is none.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Request;
use http_body::{Frame, SizeHint};
use hyper::body::Body;

use super::connection_limit::{ConnectionLimit, LimitReached, WaitStart};
use super::progress::Silent;
use super::{exchange, http2};
use crate::error::{BoxError, Error};

/// An exchange that gave no answer.
pub(super) struct Failed<B> {
    pub(super) error: Error,
    /// The request, when it is sure that the API did not act on it.
    pub(super) unsent: Option<Box<Request<B>>>,
}

/// Why an answer broke off.
#[derive(Debug, thiserror::Error)]
#[error("the API was silent for longer than upstream.body_timeout in the middle of its answer")]
pub(super) struct AnswerSilent;

pub(super) fn too_slow(silent: Silent) -> Error {
    match silent {
        Silent::Caller => Error::CallerTooSlow,
        Silent::Upstream => Error::UpstreamTimeout,
    }
}

/// Why a request has waited in vain for a connection since `start`: nothing was sent.
pub(super) fn no_connection(limit: &ConnectionLimit, start: WaitStart) -> Error {
    if limit.was_exhausted_since(start) {
        limit.log_exhausted();
        return Error::NoConnectionLeft;
    }
    let in_vain = "no connection, or place on one, became free or could be opened within \
                   upstream.connect_timeout";
    let cause = match limit.is_reached() {
        true => format!("{in_vain}; {LimitReached}"),
        false => in_vain.to_owned(),
    };
    Error::UpstreamUnreachable(cause.into())
}

/// Why a request's body did not come to its end: it broke off with its caller, unless it was ended
/// on purpose.
pub(super) fn body_error(cause: Option<&(dyn std::error::Error + 'static)>) -> Error {
    match cause.and_then(|cause| cause.downcast_ref()) {
        Some(Error::BodyTooLarge) => Error::BodyTooLarge,
        _ => Error::BodyBroken,
    }
}

/// The body of an answer. Its connection, or its place on one, is free again when it has ended;
/// when it is dropped before, the connection is closed, or the stream reset.
pub(crate) struct UpstreamBody<B>(Kind<B>);

enum Kind<B> {
    Http1(exchange::Answer<B>),
    /// Boxed: the larger, and the rarer.
    Http2(Box<http2::Answer<B>>),
}

impl<B> UpstreamBody<B> {
    pub(super) fn http1(answer: exchange::Answer<B>) -> Self {
        UpstreamBody(Kind::Http1(answer))
    }

    pub(super) fn http2(answer: http2::Answer<B>) -> Self {
        UpstreamBody(Kind::Http2(Box::new(answer)))
    }
}

impl<B> Body for UpstreamBody<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.0 {
            Kind::Http1(answer) => Pin::new(answer).poll_frame(cx),
            Kind::Http2(answer) => Pin::new(answer).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Http1(answer) => answer.is_end_stream(),
            Kind::Http2(answer) => answer.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Http1(answer) => answer.size_hint(),
            Kind::Http2(answer) => answer.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_in_vain_is_the_limits_or_names_it_where_it_is_reached() {
        let limit = ConnectionLimit::new(Some(2));
        let start = limit.wait_start();
        let unreachable = |names_limit: bool| match no_connection(&limit, start) {
            Error::UpstreamUnreachable(cause) => {
                assert_eq!(cause.to_string().contains("RLIMIT_NOFILE"), names_limit);
            }
            other => panic!("{other:?}"),
        };
        unreachable(false);
        let opening = limit.try_acquire().unwrap();
        unreachable(true);
        drop(opening.opened());
        let error = no_connection(&limit, start);
        assert!(matches!(error, Error::NoConnectionLeft), "{error:?}");
    }
}
