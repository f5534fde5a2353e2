//! Failures of sending a request.

use std::time::Duration;

use http::Request;

use super::connection_limit::{ConnectionLimit, LimitReached, WaitStart};
use super::peer::{Peer, PeerError};
use super::watchdog::Silent;
use crate::error::Error;

/// A failed exchange over one connection.
pub(super) struct ExchangeError<B> {
    pub(super) error: Error,
    /// The request, if nothing of it was sent.
    pub(super) unsent: Option<Box<Request<B>>>,
}

impl<B> From<Error> for ExchangeError<B> {
    /// The error of a request that was sent, at least in part.
    fn from(error: Error) -> Self {
        ExchangeError {
            error,
            unsent: None,
        }
    }
}

/// The error of a response body that stalls.
#[derive(Debug, thiserror::Error)]
#[error("the API sent nothing for longer than upstream.body_timeout in the middle of its response")]
pub(super) struct ResponseBodyTimeout;

/// The error of an exchange in which nothing moved for `timeout`, the response timeout.
pub(super) fn silence_error(silent: Silent, timeout: Duration) -> Error {
    match silent {
        Silent::Caller => Error::CallerTooSlow,
        Silent::Upstream => {
            let timeout = humantime::format_duration(timeout);
            let cause = format!("it sent nothing within upstream.response_timeout ({timeout})");
            Error::UpstreamTimeout(cause.into())
        }
    }
}

/// The error of a request that waited for a connection to `peer` since `start` and got none.
pub(super) fn wait_error(limit: &ConnectionLimit, start: WaitStart, peer: Peer<'_>) -> Error {
    if limit.was_exhausted_since(start) {
        limit.log_exhausted();
        return Error::NoConnectionLeft;
    }
    let expired = "no connection or stream became free or could be opened within \
                   upstream.connect_timeout";
    let cause = if limit.is_reached() {
        format!("{expired}; {LimitReached}")
    } else {
        expired.to_owned()
    };
    Error::UpstreamUnreachable(PeerError::new(peer, cause).into())
}

/// The error of a request body that stopped before its end: too large, or broken off by its caller.
pub(super) fn request_body_error(cause: Option<&(dyn std::error::Error + 'static)>) -> Error {
    match cause.and_then(|cause| cause.downcast_ref()) {
        Some(Error::BodyTooLarge { limit }) => Error::BodyTooLarge {
            limit: limit.clone(),
        },
        _ => Error::BodyBroken,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::chain;
    use crate::upstream::timeouts::tests::load_config;

    #[test]
    fn an_expired_wait_names_the_limit_if_reached() {
        let limit = ConnectionLimit::new(Some(2));
        let start = limit.wait_start();
        let origin = load_config("upstream.base_url=http://localhost:1").origin;
        let peer = Peer::new(&origin);
        let assert_unreachable = |names_limit: bool| match wait_error(&limit, start, peer) {
            Error::UpstreamUnreachable(cause) => {
                let text = chain(cause.as_ref());
                assert!(text.starts_with("localhost:1: no connection"), "{text}");
                assert_eq!(text.contains("RLIMIT_NOFILE"), names_limit);
            }
            other => panic!("{other:?}"),
        };
        assert_unreachable(false);
        let opening = limit.try_acquire().unwrap();
        assert_unreachable(true);
        drop(opening.into_open());
        let error = wait_error(&limit, start, peer);
        assert!(matches!(error, Error::NoConnectionLeft), "{error:?}");
    }
}
