//! Errors of a request, and the only map from an error to a status.

mod reasons;

use std::time::Duration;

use http::HeaderValue;

use self::reasons::*;
pub use self::reasons::{ErrorReason, Party, REASONS};

/// Error of any type.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Error of a request. Its `Display` is safe to show to a caller: no secret, no detail of the
/// upstream.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request is malformed or ambiguous: a gateway must not forward it.
    #[error("{0}")]
    BadRequest(&'static str),
    /// The request's body is truncated or malformed.
    #[error("the request body is incomplete or malformed")]
    BodyBroken,
    /// The path is outside `upstream.allow`.
    #[error("this path is not forwarded")]
    PathUnknown,
    /// The method is not forwarded, or not for this caller.
    #[error("this method is not forwarded")]
    MethodNotAllowed {
        /// The value of the `Allow` field.
        allow: HeaderValue,
    },
    /// The Host header is not in `listen.hosts`.
    #[error("the Host header is not allowed")]
    HostNotAllowed,
    /// A browser sent the request for a web page of another site.
    #[error("cross-site requests of browsers are not allowed")]
    CrossSite,
    /// The request has no valid credentials of a caller.
    #[error("{0}")]
    CallerUnknown(&'static str),
    /// The client certificate of the connection is no longer accepted.
    #[error("{0}")]
    CertificateEnded(&'static str),
    /// The path is forwarded, but not for this caller.
    #[error("this path is not forwarded for this caller")]
    PathNotAllowed,
    /// The caller exceeded its rate or quota.
    #[error("this caller exceeds its rate or quota")]
    RateLimited {
        /// The time until a retry can succeed.
        retry_after: Duration,
        /// Requests and seconds of the exceeded rate; `None` for too many requests in flight, and for a
        /// pause.
        rate: Option<(u32, u64)>,
    },
    /// The admission queue is full, or the request waited too long in it.
    #[error("too many requests are in flight")]
    Overloaded,
    /// The limit of open files allows no further connection to the API. Nothing was sent.
    #[error("too many connections to the API are open")]
    NoConnectionLeft,
    /// Too many login forms are being read; this one is the oldest.
    #[error("too many clients log in at once")]
    TooManyLogins,
    /// The process is shutting down.
    #[error("the proxy is shutting down")]
    Draining,
    /// This proxy has already forwarded the request.
    #[error("this proxy has already forwarded the request")]
    LoopDetected,
    /// The target is longer than `limits.max_target_bytes`.
    #[error("the target is too long")]
    TargetTooLong,
    /// The header fields are more than `limits.max_header_fields`, or longer than
    /// `limits.max_header_bytes`.
    #[error("the header fields are too large")]
    HeaderTooLarge,
    /// The body is longer than `limits.max_request_body`.
    #[error("the request body is too large")]
    BodyTooLarge,
    /// The caller stopped sending its request's body.
    #[error("the request body stopped arriving")]
    CallerTooSlow,
    /// No valid token is available, and none arrived in time.
    #[error("there is no access token at the moment")]
    TokenUnavailable {
        /// The time until a retry can succeed.
        retry_after: Duration,
    },
    /// The token endpoint rejects the OAuth client.
    #[error("the token endpoint refuses the credentials of this proxy")]
    ClientRefused {
        /// The time until a retry can succeed.
        retry_after: Duration,
    },
    /// No connection to the API could be opened. Nothing was sent.
    #[error("no connection to the API could be opened")]
    UpstreamUnreachable(#[source] BoxError),
    /// The connection to the API ended, or broke the protocol, before a complete response head.
    #[error("the connection to the API broke before a response")]
    UpstreamBroken(#[source] BoxError),
    /// A reused or shared connection was closed without a byte of a response. Most likely the API
    /// closed it before the request arrived; nothing proves that it did not act on the request.
    #[error("the API closed the connection before a response")]
    UpstreamClosed(#[source] BoxError),
    /// The API states that it did not process the request (RFC 9113 section 8.7): it refused the
    /// stream, or sent GOAWAY before it.
    #[error("the API did not process the request")]
    UpstreamRefused {
        /// Whether the API closes the connection gracefully (GOAWAY with NO_ERROR) and accepts
        /// requests on another one.
        is_shutdown: bool,
        /// The stream error.
        source: BoxError,
    },
    /// The API sent no response head in time.
    #[error("the API did not respond in time")]
    UpstreamTimeout,
}

impl Error {
    /// Whether an HTTP/1 connection cannot carry a further request: the end of this one is unclear,
    /// the rest of its body is not read, or the caller is no longer accepted.
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

    /// The time until a retry can succeed, if it is known.
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

    /// The entry of [`REASONS`].
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

/// `error` and its sources in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // Some libraries repeat the source in their own message.
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}
