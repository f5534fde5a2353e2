//! Faults that a sandbox injects; `fault_syntax` reads and writes them as text.

use std::time::Duration;

use clap::ValueEnum;
use http::{HeaderValue, StatusCode};

/// A fault to inject until it is cleared or used up.
///
/// Written as in `token-status=500*3`. A value that itself ends in `*` and digits cannot be
/// written, since these are read as the count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub(super) kind: FaultKind,
    /// The number of further matching calls to affect; `None` affects all.
    pub(super) calls: Option<u32>,
}

/// The effect of a fault, and the endpoint that has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FaultKind {
    /// Issue the token at once, and respond so much later.
    TokenDelay(Duration),
    /// Issue no token, and never respond.
    TokenHang,
    /// Issue no token, and close the connection without a response.
    TokenReset,
    /// Respond with this status, and a body that is not JSON.
    TokenStatus(StatusCode),
    /// Add this Retry-After to the response, whatever its status.
    TokenRetryAfter(HeaderValue),
    /// Send the token in a faulty body.
    TokenBody(TokenBody),
    /// Send another `token_type`.
    TokenType(String),
    /// Put a line end into the token, which no header value can have.
    TokenBad,
    /// Return the newest token again until it expires, with the whole seconds that it has left.
    TokenSame,
    /// Send this JSON as `expires_in`; `None` leaves it out.
    TokenExpiresIn(Option<String>),
    /// Issue a token with this lifetime.
    TokenLifetime(Duration),
    /// Refuse the client, even one with the right id and secret.
    RefuseClient,
    /// Do nothing, and respond with this status in the error format of the called version.
    ApiStatus(StatusCode),
    /// Act at once, and respond so much later.
    ApiDelay(Duration),
    /// Act, and never respond.
    ApiHang,
    /// Act, and close the connection without a response.
    ApiReset,
    /// Break the response off in the middle of its body.
    ApiTruncated,
    /// Add this Retry-After to the response, whatever its status.
    ApiRetryAfter(HeaderValue),
}

/// A faulty body of a 200 response of the token endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum TokenBody {
    /// No body.
    Empty,
    /// An HTML page.
    Html,
    /// JSON without `access_token`.
    NoToken,
    /// Valid JSON and a line end.
    Crlf,
    /// Valid JSON after a byte order mark.
    Bom,
    /// Valid JSON, one byte shorter than its Content-Length; then the connection closes.
    Truncated,
    /// Valid JSON and blanks without end.
    Endless,
    /// Valid JSON, one byte a second.
    Drip,
}

impl FaultKind {
    pub(super) fn times(self, calls: u32) -> Fault {
        Fault {
            kind: self,
            calls: Some(calls),
        }
    }
}

impl From<FaultKind> for Fault {
    fn from(kind: FaultKind) -> Self {
        Fault { kind, calls: None }
    }
}
