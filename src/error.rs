//! What can go wrong with one request, and the only map from failure to status.

mod reasons;

use std::fmt;
use std::time::Duration;

use http::{HeaderValue, StatusCode};

pub use self::reasons::REASONS;
use self::reasons::*;

/// The cause below an error, whatever its type.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A failure on the request path. Its `Display` is safe to show to a caller: no secret, no upstream
/// detail.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request is not one that a gateway may pass on.
    #[error("{0}")]
    BadRequest(&'static str),
    /// The request's body broke off, or was no HTTP.
    #[error("the request's body broke off")]
    BodyBroken,
    /// The path is outside `upstream.allow`.
    #[error("this path is not forwarded")]
    PathUnknown,
    /// The method is not one that is forwarded, or not one of this caller's.
    #[error("this method is not forwarded")]
    MethodNotAllowed {
        /// The methods that are, as the field Allow has them.
        allow: HeaderValue,
    },
    /// The host is none that this proxy is known by.
    #[error("the proxy is not known by this host")]
    HostNotAllowed,
    /// A web page of another site makes a browser call.
    #[error("a web page of another site may not call")]
    CrossSite,
    /// Nothing that came with the request says which caller sent it.
    #[error("{0}")]
    CallerUnknown(&'static str),
    /// The certificate that the connection was opened with is not accepted any more.
    #[error("{0}")]
    CertificateEnded(&'static str),
    /// The path is forwarded, but not for this caller.
    #[error("this path is not forwarded for this caller")]
    PathNotAllowed,
    /// The caller has had its share.
    #[error("this caller sends more than its share")]
    RateLimited {
        /// When it is worth trying again.
        retry_after: Duration,
        /// The requests and the seconds of the rate that was exceeded, if one was.
        quota: Option<(u32, u64)>,
    },
    /// So much is in flight that the request would have waited too long.
    #[error("too many requests are in flight")]
    Overloaded,
    /// As many connections to the API are open as the limit of open files allows; nothing was sent.
    #[error("too many connections to the API are open")]
    NoConnectionLeft,
    /// So many login forms are read that this one, the oldest, is given up.
    #[error("too many clients log in at once")]
    TooManyLogins,
    /// The process is about to end.
    #[error("the proxy is about to end")]
    Draining,
    /// The request has been here before.
    #[error("the request came back to the proxy that had forwarded it")]
    LoopDetected,
    /// The target is longer than `limits.max_target_bytes`.
    #[error("the target is too long")]
    TargetTooLong,
    /// The fields are more than `limits.max_header_fields`, or longer than `limits.max_header_bytes`.
    #[error("the header fields are too large")]
    HeaderTooLarge,
    /// The body is longer than `limits.max_request_body`.
    #[error("the request's body is too large")]
    BodyTooLarge,
    /// The caller stopped sending its request's body.
    #[error("the request's body stopped coming")]
    CallerTooSlow,
    /// There is no valid token, and none came while the request waited.
    #[error("there is no access token at the moment")]
    TokenUnavailable {
        /// When it is worth trying again.
        retry_after: Duration,
    },
    /// The token endpoint refuses our client.
    #[error("the token endpoint refuses the credentials of this proxy")]
    ClientRefused {
        /// When it is worth trying again.
        retry_after: Duration,
    },
    /// No connection to the API could be opened; nothing was sent.
    #[error("no connection to the API could be opened")]
    UpstreamUnreachable(#[source] BoxError),
    /// The connection to the API ended, or what came over it was no HTTP, before a whole answer
    /// head.
    #[error("the connection to the API broke before it answered")]
    UpstreamBroken(#[source] BoxError),
    /// A connection that was there before the request, or that it shared, was closed without one
    /// byte of an answer. Most likely the API had closed it before the request came; nothing proves
    /// that it did not act on it.
    #[error("the connection to the API was closed before it answered")]
    UpstreamClosed(#[source] BoxError),
    /// The API did not process the request, and says so (RFC 9113 section 8.7): it refused the
    /// stream, or closed the connection before it looked at it.
    #[error("the API did not process the request")]
    UpstreamRefused {
        /// Whether the API closes the connection in an orderly way (GOAWAY with NO_ERROR), and
        /// takes requests on another one.
        is_shutdown: bool,
        /// The error of the stream.
        source: BoxError,
    },
    /// The API sent no answer head in time.
    #[error("the API did not answer in time")]
    UpstreamTimeout,
}

/// Who has to act on a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party {
    /// Whoever sent the request.
    Caller,
    /// Whoever runs this proxy.
    Proxy,
    /// GBG, or the network on the way to it.
    Upstream,
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Party::Caller => "caller",
            Party::Proxy => "proxy",
            Party::Upstream => "upstream",
        })
    }
}

/// How a failure is told: a row of the closed list of reasons, [`REASONS`].
#[derive(Debug, PartialEq, Eq)]
pub struct ErrorReason {
    /// The name that scripts and dashboards depend on.
    pub name: &'static str,
    /// The status of our answer.
    pub status: StatusCode,
    /// Who has to act.
    pub fault: Party,
    /// What to do about it, for the person who reads the answer.
    pub action: &'static str,
    /// The proxy error type of RFC 9209 section 2.3.
    pub proxy_error: &'static str,
}

impl Error {
    /// Whether an HTTP/1 connection can carry no further request: where this one ends is in doubt,
    /// what is left of it is not worth reading, or its caller is not accepted any more.
    pub fn ends_connection(&self) -> bool {
        matches!(
            self,
            Error::BadRequest(_)
                | Error::BodyBroken
                | Error::CertificateEnded(_)
                | Error::BodyTooLarge
                | Error::HeaderTooLarge
                | Error::TargetTooLong
                | Error::CallerTooSlow
                | Error::TooManyLogins
        )
    }

    /// When it is worth trying again, where that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Error::TokenUnavailable { retry_after }
            | Error::ClientRefused { retry_after }
            | Error::RateLimited { retry_after, .. } => Some(*retry_after),
            Error::Overloaded
            | Error::NoConnectionLeft
            | Error::TooManyLogins
            | Error::Draining
            | Error::UpstreamRefused { .. } => Some(Duration::from_secs(1)),
            _ => None,
        }
    }

    /// The reason, status, fault and advice of this failure.
    pub fn reason(&self) -> &'static ErrorReason {
        match self {
            Error::BadRequest(_) | Error::BodyBroken => &BAD_REQUEST,
            Error::PathUnknown => &PATH_UNKNOWN,
            Error::MethodNotAllowed { .. } => &METHOD_NOT_ALLOWED,
            Error::HostNotAllowed => &HOST_NOT_ALLOWED,
            Error::CrossSite => &CROSS_SITE,
            Error::CallerUnknown(_) | Error::CertificateEnded(_) => &CALLER_UNKNOWN,
            Error::PathNotAllowed => &PATH_NOT_ALLOWED,
            Error::RateLimited { .. } => &RATE_LIMITED,
            Error::Overloaded => &OVERLOADED,
            Error::NoConnectionLeft => &NO_CONNECTION_LEFT,
            Error::TooManyLogins => &TOO_MANY_LOGINS,
            Error::Draining => &DRAINING,
            Error::LoopDetected => &LOOP_DETECTED,
            Error::TargetTooLong => &TARGET_TOO_LONG,
            Error::HeaderTooLarge => &HEADER_TOO_LARGE,
            Error::BodyTooLarge => &BODY_TOO_LARGE,
            Error::CallerTooSlow => &CALLER_TOO_SLOW,
            Error::TokenUnavailable { .. } => &TOKEN_UNAVAILABLE,
            Error::ClientRefused { .. } => &CLIENT_REFUSED,
            Error::UpstreamUnreachable(_) => &UPSTREAM_UNREACHABLE,
            Error::UpstreamBroken(_) | Error::UpstreamClosed(_) => &UPSTREAM_BROKEN,
            Error::UpstreamRefused { .. } => &UPSTREAM_REFUSED,
            Error::UpstreamTimeout => &UPSTREAM_TIMEOUT,
        }
    }
}

/// `error` and its causes in one line, for a log.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // Some libraries repeat the cause in their own text.
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}
