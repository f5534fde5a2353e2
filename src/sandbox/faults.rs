//! What can be made to go wrong on purpose; `spelling` says how it is written.

use std::time::Duration;

use http::{HeaderValue, StatusCode};

/// Something that goes wrong on purpose, until it is cleared or used up.
///
/// A text is such as `token-status=500*3`. A value that ends in `*` and digits cannot be written:
/// they are read as the count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What goes wrong.
    pub kind: FaultKind,
    /// How many more of the calls that it applies to it is for; `None` for all of them.
    pub calls: Option<u32>,
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The token endpoint issues at once, and answers so much later.
    TokenDelay(Duration),
    /// The token endpoint issues nothing and never answers.
    TokenHang,
    /// The token endpoint issues nothing, and closes the connection instead of answering.
    TokenReset,
    /// The token endpoint answers with this status, and a body that is no JSON.
    TokenStatus(StatusCode),
    /// What the token endpoint answers has this Retry-After.
    TokenRetryAfter(HeaderValue),
    /// The answer with the token has a strange body.
    TokenBody(TokenBody),
    /// The token is of this type.
    TokenType(String),
    /// The token has a line end in it, which no header value can have.
    TokenBad,
    /// The token is the one that was issued last, while it lives, and says how many whole seconds
    /// it has left.
    TokenSame,
    /// `expires_in` is this JSON as it stands; `None` leaves it out.
    TokenExpiresIn(Option<String>),
    /// The token lives so long.
    TokenLife(Duration),
    /// The token endpoint refuses the client, whose id and secret may be right.
    RefuseClient,
    /// The API does nothing, and answers with this status, in the form of the version that was
    /// called.
    ApiStatus(StatusCode),
    /// The API does at once what it is asked to, and answers so much later.
    ApiDelay(Duration),
    /// The API does what it is asked to, and never answers.
    ApiHang,
    /// The API does what it is asked to, and closes the connection instead of answering.
    ApiReset,
    /// The API's answer breaks off in the middle of its body.
    ApiTruncated,
    /// What the API answers has this Retry-After.
    ApiRetryAfter(HeaderValue),
}

/// A strange body of an answer 200 of the token endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenBody {
    /// Nothing.
    Empty,
    /// A page for people.
    Html,
    /// JSON without an `access_token`.
    NoToken,
    /// The good JSON and a line end.
    Crlf,
    /// The good JSON after a byte order mark.
    Bom,
    /// The good JSON, of which Content-Length says that it is longer; then the connection closes.
    Truncated,
    /// The good JSON and blanks without end.
    Endless,
    /// The good JSON, one byte a second.
    Drip,
}

impl FaultKind {
    /// This, for the next so many calls only.
    pub fn times(self, calls: u32) -> Fault {
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
