//! Faults that a sandbox injects; `fault_syntax` parses them.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use clap::ValueEnum;
use http::{HeaderValue, StatusCode};

/// A fault to inject until it is cleared or used up.
///
/// Written as in `token-status=500*3`. A value that itself ends in `*` and digits cannot be
/// written, since these are read as the count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The text without the count.
    pub(super) text: String,
    pub(super) target: FaultTarget,
    pub(super) effect: FaultEffect,
    /// The number of further matching calls to affect; `None` affects all.
    pub(super) calls: Option<NonZeroU32>,
}

/// The part of the sandbox that has a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FaultTarget {
    Token,
    Api,
}

/// The effect of a fault. From [`FaultEffect::Body`] on, only the token endpoint has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FaultEffect {
    /// Issue the token or act on the call at once, and respond so much later.
    Delay(Duration),
    /// Never respond. The token endpoint issues no token; the API acts on the call.
    Hang,
    /// Close the connection without a response. The token endpoint issues no token; the API acts on
    /// the call.
    Reset,
    /// Respond with this status, and do nothing else.
    Status(StatusCode),
    /// Add this Retry-After to the response, whatever its status.
    RetryAfter(HeaderValue),
    /// Break the response off in the middle of its body.
    Truncate,
    /// Respond with 429 to submissions and uploads of a journey above this rate, and do nothing else.
    InstanceRate(InstanceRate),
    /// Send the token in a faulty body.
    Body(TokenBody),
    /// Send another `token_type`.
    Type(String),
    /// Put a line end into the token, which no header value can have.
    Bad,
    /// Return the newest token again until it expires, with the whole seconds that it has left.
    Same,
    /// Send this JSON as `expires_in`; `None` leaves it out.
    ExpiresIn(Option<String>),
    /// Issue a token with this lifetime.
    Lifetime(Duration),
    /// Refuse the client, even one with the right id and secret.
    RefuseClient,
}

/// A number of calls of one journey in a time. GBG's numbers are not published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InstanceRate {
    pub(super) calls: NonZeroU32,
    pub(super) per: Duration,
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

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        match self.calls {
            Some(calls) => write!(f, "*{calls}"),
            None => Ok(()),
        }
    }
}
