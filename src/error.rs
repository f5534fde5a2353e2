//! Errors of a request, and the only map from an error to a status.

mod reasons;

use std::borrow::Cow;
use std::fmt;
use std::time::{Duration, SystemTime};

use http::{HeaderName, HeaderValue};

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
    /// The path has a double slash: most clients get it from a base URL that ends with a slash.
    #[error("the path has an empty segment (//)")]
    EmptySegment,
    /// The request's body is truncated or malformed.
    #[error("the request body is incomplete or malformed")]
    BodyBroken,
    /// The path is outside `upstream.allow`.
    #[error("this path is not forwarded")]
    PathUnknown {
        /// The prefixes of `upstream.allow`, as a list to read.
        allow: String,
    },
    /// The path has the prefix of an API version twice. Newer SDKs of GBG add it to a base URL, older
    /// ones take it from there.
    #[error("the path has the prefix of the API twice")]
    RepeatedPrefix,
    /// The method is not forwarded, or not for this caller.
    #[error("this method is not forwarded")]
    MethodNotAllowed {
        /// The value of the `Allow` field.
        allow: HeaderValue,
    },
    /// The caller takes the proxy for a forward proxy.
    #[error("this is not a forward proxy: it opens no tunnels")]
    Tunnel {
        /// The value of the `Allow` field.
        allow: HeaderValue,
    },
    /// The host of the request is not one of the proxy's.
    #[error("the host {host:?} is not allowed")]
    HostNotAllowed {
        /// The host, without its port.
        host: String,
    },
    /// A browser sent the request for a web page of another site.
    #[error("cross-site requests of browsers are not allowed")]
    CrossSite,
    /// The request has no valid credentials of a caller.
    #[error("{0}")]
    CallerUnknown(&'static str),
    /// The access of the caller has ended.
    #[error("the access of caller {caller:?} ended at {}", humantime::format_rfc3339_seconds(*ended))]
    CallerExpired {
        /// The name of the caller.
        caller: String,
        /// `expires` of the caller.
        ended: SystemTime,
    },
    /// The client certificate of the connection is no longer accepted.
    #[error("{0}")]
    CertificateEnded(&'static str),
    /// The path is forwarded, but not for this caller.
    #[error("this path is not forwarded for this caller")]
    PathNotAllowed {
        /// The prefixes of the caller's `allow`, as a list to read.
        allow: String,
    },
    /// The request has a field of the caller's `deny_headers`.
    #[error("the header field {name} is not allowed for this caller")]
    HeaderNotAllowed {
        /// The name of the field.
        name: HeaderName,
    },
    /// The caller exceeded its rate or quota.
    #[error("{limit}")]
    RateLimited {
        /// The time until a retry can succeed.
        retry_after: Duration,
        /// The limit that the caller exceeds.
        limit: CallerLimit,
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
    #[error("path and query are longer than {limit} (limits.max_target_bytes)")]
    TargetTooLong {
        /// The limit, with its unit.
        limit: String,
    },
    /// The header fields are more than `limits.max_header_fields`, or longer than
    /// `limits.max_header_bytes`.
    #[error("{detail}")]
    HeaderTooLarge {
        /// The exceeded limit.
        detail: String,
    },
    /// The body is longer than `limits.max_request_body`.
    #[error("the request body is larger than {limit} (limits.max_request_body)")]
    BodyTooLarge {
        /// The limit, with its unit.
        limit: String,
    },
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
    UpstreamTimeout(#[source] BoxError),
}

/// A limit of one caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallerLimit {
    /// `rate`.
    Rate {
        /// Requests in the whole unit of time.
        requests: u32,
        /// The unit of time in seconds.
        seconds: u64,
        /// Requests at once.
        burst: u32,
    },
    /// `max_in_flight`.
    InFlight {
        /// The limit.
        max: u32,
    },
    /// The pause that GBG asked for (`limits.honor_retry_after`).
    Pause,
}

impl fmt::Display for CallerLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallerLimit::Rate {
                requests,
                seconds,
                burst,
            } => {
                write!(
                    f,
                    "this caller exceeds its rate: {requests} requests in {seconds} s, {burst} at once"
                )
            }
            CallerLimit::InFlight { max } => write!(
                f,
                "this caller has {max} requests in flight (its max_in_flight)"
            ),
            CallerLimit::Pause => {
                f.write_str("GBG asked this caller to wait (429 with Retry-After)")
            }
        }
    }
}

impl Error {
    /// Whether an HTTP/1 connection cannot carry a further request: the end of this one is unclear,
    /// the rest of its body is not read, or the caller is no longer accepted.
    pub fn ends_connection(&self) -> bool {
        matches!(
            self,
            Error::BadRequest(_)
                | Error::EmptySegment
                | Error::BodyBroken
                | Error::CertificateEnded(_)
                | Error::BodyTooLarge { .. }
                | Error::HeaderTooLarge { .. }
                | Error::TargetTooLong { .. }
                | Error::CallerTooSlow
                | Error::TooManyLogins
        )
    }

    /// Whether the request got no response from the API.
    pub(crate) fn is_from_upstream(&self) -> bool {
        matches!(
            self,
            Error::UpstreamUnreachable(_)
                | Error::UpstreamBroken(_)
                | Error::UpstreamClosed(_)
                | Error::UpstreamRefused { .. }
                | Error::UpstreamTimeout(_)
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

    /// The action for the reader of the response: that of the reason, with the values of this error.
    pub fn action(&self) -> Cow<'static, str> {
        match self {
            Error::EmptySegment => {
                "Remove the double slash; if the base URL ends with a slash, remove that".into()
            }
            Error::PathUnknown { allow } => format!("Call a path below {allow}").into(),
            Error::PathNotAllowed { allow } => format!(
                "Call a path below {allow}, or have its prefix added to the allow of your [[caller]]"
            )
            .into(),
            Error::RepeatedPrefix => {
                "Use the address of this proxy, without a path, as the base URL: this client adds the path itself"
                    .into()
            }
            Error::Tunnel { .. } => {
                "Use the address of this proxy as the base URL, and remove it from the proxy settings (such as HTTPS_PROXY)"
                    .into()
            }
            Error::HostNotAllowed { host } => format!(
                "Call by localhost, by the address or by a name of the proxy's certificate, or have {host:?} added to \
                 listen.hosts"
            )
            .into(),
            _ => self.reason().action.into(),
        }
    }

    /// The entry of [`REASONS`].
    pub fn reason(&self) -> &'static ErrorReason {
        match self {
            Error::BadRequest(_) | Error::EmptySegment | Error::BodyBroken => &BAD_REQUEST,
            Error::PathUnknown { .. } | Error::RepeatedPrefix => &PATH_UNKNOWN,
            Error::MethodNotAllowed { .. } | Error::Tunnel { .. } => &METHOD_NOT_ALLOWED,
            Error::HostNotAllowed { .. } => &HOST_NOT_ALLOWED,
            Error::CrossSite => &CROSS_SITE,
            Error::CallerUnknown(_) | Error::CertificateEnded(_) => &CALLER_UNKNOWN,
            Error::CallerExpired { .. } => &CALLER_EXPIRED,
            Error::PathNotAllowed { .. } => &PATH_NOT_ALLOWED,
            Error::HeaderNotAllowed { .. } => &HEADER_NOT_ALLOWED,
            Error::RateLimited { .. } => &RATE_LIMITED,
            Error::Overloaded => &OVERLOADED,
            Error::NoConnectionLeft => &NO_CONNECTION_LEFT,
            Error::TooManyLogins => &TOO_MANY_LOGINS,
            Error::Draining => &DRAINING,
            Error::LoopDetected => &LOOP_DETECTED,
            Error::TargetTooLong { .. } => &TARGET_TOO_LONG,
            Error::HeaderTooLarge { .. } => &HEADER_TOO_LARGE,
            Error::BodyTooLarge { .. } => &BODY_TOO_LARGE,
            Error::CallerTooSlow => &CALLER_TOO_SLOW,
            Error::TokenUnavailable { .. } => &TOKEN_UNAVAILABLE,
            Error::ClientRefused { .. } => &CLIENT_REFUSED,
            Error::UpstreamUnreachable(_) => &UPSTREAM_UNREACHABLE,
            Error::UpstreamBroken(_) | Error::UpstreamClosed(_) => &UPSTREAM_BROKEN,
            Error::UpstreamRefused { .. } => &UPSTREAM_REFUSED,
            Error::UpstreamTimeout(_) => &UPSTREAM_TIMEOUT,
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
