//! Error reasons: a closed list. `docs/errors.md` explains each; a test compares the two.

use std::fmt;

use http::StatusCode;

/// The party that has to act on a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party {
    /// The sender of the request.
    Caller,
    /// The operator of this proxy.
    Proxy,
    /// GBG, or the network in between.
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

/// Reason of a failure: an entry of the closed list [`REASONS`].
#[derive(Debug, PartialEq, Eq)]
pub struct ErrorReason {
    /// The name that scripts and dashboards depend on.
    pub name: &'static str,
    /// The status of the response.
    pub status: StatusCode,
    /// The party that has to act.
    pub fault: Party,
    /// The action for the reader of the response.
    pub action: &'static str,
    /// The proxy error type of RFC 9209 section 2.3.
    pub proxy_error: &'static str,
}

/// All reasons, as `Proxy-Status` and the error body name them.
pub static REASONS: [&ErrorReason; 25] = [
    &BAD_REQUEST,
    &PATH_UNKNOWN,
    &METHOD_NOT_ALLOWED,
    &HOST_NOT_ALLOWED,
    &CROSS_SITE,
    &CALLER_UNKNOWN,
    &CALLER_EXPIRED,
    &PATH_NOT_ALLOWED,
    &HEADER_NOT_ALLOWED,
    &RATE_LIMITED,
    &OVERLOADED,
    &NO_CONNECTION_LEFT,
    &TOO_MANY_LOGINS,
    &DRAINING,
    &TARGET_TOO_LONG,
    &HEADER_TOO_LARGE,
    &BODY_TOO_LARGE,
    &CALLER_TOO_SLOW,
    &TOKEN_UNAVAILABLE,
    &CLIENT_REFUSED,
    &UPSTREAM_UNREACHABLE,
    &UPSTREAM_BROKEN,
    &UPSTREAM_REFUSED,
    &UPSTREAM_TIMEOUT,
    &LOOP_DETECTED,
];

pub(super) static BAD_REQUEST: ErrorReason = ErrorReason {
    name: "bad_request",
    status: StatusCode::BAD_REQUEST,
    fault: Party::Caller,
    action: "Correct the request",
    proxy_error: "http_request_error",
};

pub(super) static PATH_UNKNOWN: ErrorReason = ErrorReason {
    name: "path_unknown",
    status: StatusCode::NOT_FOUND,
    fault: Party::Caller,
    action: "Call a path below one of the prefixes of upstream.allow",
    proxy_error: "http_request_denied",
};

pub(super) static METHOD_NOT_ALLOWED: ErrorReason = ErrorReason {
    name: "method_not_allowed",
    status: StatusCode::METHOD_NOT_ALLOWED,
    fault: Party::Caller,
    action: "Use the method that the API documents",
    proxy_error: "http_request_denied",
};

pub(super) static HOST_NOT_ALLOWED: ErrorReason = ErrorReason {
    name: "host_not_allowed",
    status: StatusCode::FORBIDDEN,
    fault: Party::Caller,
    action: "Call by localhost, by the address or by a name of the proxy's certificate, or have the name added to listen.hosts",
    proxy_error: "http_request_denied",
};

pub(super) static CROSS_SITE: ErrorReason = ErrorReason {
    name: "cross_site",
    status: StatusCode::FORBIDDEN,
    fault: Party::Caller,
    action: "Call from a server, or have the origin of the page added to limits.origins",
    proxy_error: "http_request_denied",
};

pub(super) static CALLER_UNKNOWN: ErrorReason = ErrorReason {
    name: "caller_unknown",
    status: StatusCode::UNAUTHORIZED,
    fault: Party::Caller,
    action: "Send your caller key as X-Api-Key, as a Bearer token or as the Basic password; the operator of gbg-proxy issues them",
    proxy_error: "http_request_denied",
};

pub(super) static CALLER_EXPIRED: ErrorReason = ErrorReason {
    name: "caller_expired",
    status: StatusCode::UNAUTHORIZED,
    fault: Party::Caller,
    action: "Ask the operator of gbg-proxy for a later expires of your [[caller]]",
    proxy_error: "http_request_denied",
};

pub(super) static PATH_NOT_ALLOWED: ErrorReason = ErrorReason {
    name: "path_not_allowed",
    status: StatusCode::FORBIDDEN,
    fault: Party::Caller,
    action: "Call a path that is yours, or have its prefix added to the allow of your [[caller]]",
    proxy_error: "http_request_denied",
};

pub(super) static HEADER_NOT_ALLOWED: ErrorReason = ErrorReason {
    name: "header_not_allowed",
    status: StatusCode::FORBIDDEN,
    fault: Party::Caller,
    action: "Send the request without this header field, or have it removed from deny_headers of your [[caller]]",
    proxy_error: "http_request_denied",
};

pub(super) static RATE_LIMITED: ErrorReason = ErrorReason {
    name: "rate_limited",
    status: StatusCode::TOO_MANY_REQUESTS,
    fault: Party::Caller,
    action: "Send fewer requests at once, and this one again after Retry-After",
    proxy_error: "http_request_denied",
};

pub(super) static OVERLOADED: ErrorReason = ErrorReason {
    name: "overloaded",
    status: StatusCode::SERVICE_UNAVAILABLE,
    fault: Party::Proxy,
    action: "Try again after Retry-After: the request was not sent",
    proxy_error: "connection_limit_reached",
};

pub(super) static NO_CONNECTION_LEFT: ErrorReason = ErrorReason {
    name: "no_connection_left",
    status: StatusCode::SERVICE_UNAVAILABLE,
    fault: Party::Proxy,
    action: "Try again after Retry-After: the request was not sent",
    proxy_error: "connection_limit_reached",
};

pub(super) static TOO_MANY_LOGINS: ErrorReason = ErrorReason {
    name: "too_many_logins",
    status: StatusCode::SERVICE_UNAVAILABLE,
    fault: Party::Proxy,
    action: "Log in again after Retry-After, and send the whole form at once",
    proxy_error: "connection_limit_reached",
};

pub(super) static DRAINING: ErrorReason = ErrorReason {
    name: "draining",
    status: StatusCode::SERVICE_UNAVAILABLE,
    fault: Party::Proxy,
    action: "Try again, at another instance if there is one: the request was not sent",
    proxy_error: "proxy_internal_response",
};

pub(super) static TARGET_TOO_LONG: ErrorReason = ErrorReason {
    name: "target_too_long",
    status: StatusCode::URI_TOO_LONG,
    fault: Party::Caller,
    action: "Send less in the path and query",
    proxy_error: "http_request_error",
};

pub(super) static HEADER_TOO_LARGE: ErrorReason = ErrorReason {
    name: "header_too_large",
    status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
    fault: Party::Caller,
    action: "Send fewer or shorter header fields",
    proxy_error: "http_request_error",
};

pub(super) static BODY_TOO_LARGE: ErrorReason = ErrorReason {
    name: "body_too_large",
    status: StatusCode::PAYLOAD_TOO_LARGE,
    fault: Party::Caller,
    action: "Send a smaller body, such as images of a lower resolution",
    proxy_error: "http_request_error",
};

pub(super) static CALLER_TOO_SLOW: ErrorReason = ErrorReason {
    name: "caller_too_slow",
    status: StatusCode::REQUEST_TIMEOUT,
    fault: Party::Caller,
    action: "Send the whole body without long pauses",
    proxy_error: "http_request_error",
};

pub(super) static TOKEN_UNAVAILABLE: ErrorReason = ErrorReason {
    name: "token_unavailable",
    status: StatusCode::SERVICE_UNAVAILABLE,
    fault: Party::Upstream,
    action: "Try again; if it lasts, the log of gbg-proxy has the response of the token endpoint",
    proxy_error: "proxy_internal_response",
};

pub(super) static CLIENT_REFUSED: ErrorReason = ErrorReason {
    name: "client_refused",
    status: StatusCode::SERVICE_UNAVAILABLE,
    fault: Party::Proxy,
    action: "The operator of gbg-proxy must check its client id, its secret and the role of the API client",
    proxy_error: "proxy_configuration_error",
};

pub(super) static UPSTREAM_UNREACHABLE: ErrorReason = ErrorReason {
    name: "upstream_unreachable",
    status: StatusCode::BAD_GATEWAY,
    fault: Party::Upstream,
    action: "Try again: the request was not sent",
    proxy_error: "destination_unavailable",
};

pub(super) static UPSTREAM_BROKEN: ErrorReason = ErrorReason {
    name: "upstream_broken",
    status: StatusCode::BAD_GATEWAY,
    fault: Party::Upstream,
    action: "Look whether the request took effect before you send it again",
    proxy_error: "connection_terminated",
};

pub(super) static UPSTREAM_REFUSED: ErrorReason = ErrorReason {
    name: "upstream_refused",
    status: StatusCode::SERVICE_UNAVAILABLE,
    fault: Party::Upstream,
    action: "Send the request again after Retry-After: GBG did not process it",
    proxy_error: "destination_unavailable",
};

pub(super) static UPSTREAM_TIMEOUT: ErrorReason = ErrorReason {
    name: "upstream_timeout",
    status: StatusCode::GATEWAY_TIMEOUT,
    fault: Party::Upstream,
    action: "Look whether the request took effect before you send it again",
    proxy_error: "http_response_timeout",
};

pub(super) static LOOP_DETECTED: ErrorReason = ErrorReason {
    name: "loop_detected",
    status: StatusCode::LOOP_DETECTED,
    fault: Party::Proxy,
    action: "The operator of gbg-proxy must correct upstream.base_url or token.endpoint: it leads back to this proxy",
    proxy_error: "proxy_loop_detected",
};
