//! Table of the faults: name, example value, effect and parser of each.

use std::time::Duration;

use clap::ValueEnum;
use http::{HeaderValue, StatusCode};
use serde::de::IgnoredAny;

use super::super::faults::{FaultKind, TokenBody};
use crate::config::parse_duration;

/// The syntax of one fault.
pub(super) struct SyntaxRow {
    pub(super) name: &'static str,
    /// An example value; empty for a fault without a value.
    pub(super) example: &'static str,
    pub(super) effect: &'static str,
    value: ValueSyntax,
}

/// The type of a fault's value, and the kind that is made of it.
enum ValueSyntax {
    Absent(FaultKind),
    Time(fn(Duration) -> FaultKind),
    Status(fn(StatusCode) -> FaultKind),
    Field(fn(HeaderValue) -> FaultKind),
    Body,
    Text,
    Json,
}

const fn row(
    name: &'static str,
    example: &'static str,
    effect: &'static str,
    value: ValueSyntax,
) -> SyntaxRow {
    SyntaxRow {
        name,
        example,
        effect,
        value,
    }
}

#[rustfmt::skip]
pub(super) static SYNTAX: [SyntaxRow; 18] = {
    use FaultKind::*;
    use ValueSyntax::*;
    [
        row("token-delay", "2s", "respond late", Time(TokenDelay)),
        row("token-hang", "", "never respond", Absent(TokenHang)),
        row("token-reset", "", "close the connection instead of responding", Absent(TokenReset)),
        row("token-status", "500", "respond with this status and a body that is not JSON", Status(TokenStatus)),
        row("token-retry-after", "7", "add a Retry-After field, in seconds or as a date", Field(TokenRetryAfter)),
        row("token-body", "html", "send a faulty body: empty, html, no-token, crlf, bom, truncated, endless or drip", Body),
        row("token-type", "mac", "send another token_type", Text),
        row("token-bad", "", "put a line end into the token", Absent(TokenBad)),
        row("token-same", "", "return the previous token until it expires", Absent(TokenSame)),
        row("token-expires-in", "-1", "send any JSON as expires_in; none omits it", Json),
        row("token-lifetime", "3s", "issue a token with another lifetime", Time(TokenLifetime)),
        row("refuse-client", "", "respond with 401 invalid_client", Absent(RefuseClient)),
        row("api-status", "503", "respond with this status in GBG's error format", Status(ApiStatus)),
        row("api-delay", "1s", "respond late", Time(ApiDelay)),
        row("api-hang", "", "never respond", Absent(ApiHang)),
        row("api-reset", "", "close the connection instead of responding", Absent(ApiReset)),
        row("api-truncated", "", "break off in the middle of the body", Absent(ApiTruncated)),
        row("api-retry-after", "7", "add a Retry-After field, in seconds or as a date", Field(ApiRetryAfter)),
    ]
};

impl SyntaxRow {
    /// The fault with its example value.
    pub(super) fn sample(&self) -> String {
        match self.example {
            "" => self.name.to_owned(),
            example => format!("{}={example}", self.name),
        }
    }

    /// Parses `value`, which is empty for a fault without one.
    ///
    /// # Errors
    /// The reason, for people.
    pub(super) fn parse(&self, value: &str) -> Result<FaultKind, String> {
        match &self.value {
            ValueSyntax::Absent(kind) => Ok(kind.clone()),
            ValueSyntax::Time(kind) => parse_duration(value)
                .map(kind)
                .map_err(|error| error.to_string()),
            ValueSyntax::Status(kind) => parse_status(value).map(kind),
            ValueSyntax::Field(kind) => parse_field(value).map(kind),
            ValueSyntax::Body => parse_body(value).map(FaultKind::TokenBody),
            ValueSyntax::Text => Ok(FaultKind::TokenType(value.to_owned())),
            ValueSyntax::Json => parse_json(value).map(FaultKind::TokenExpiresIn),
        }
    }
}

/// A 1xx status is refused: it does not end a response (RFC 9110 section 15.2).
fn parse_status(text: &str) -> Result<StatusCode, String> {
    let status = text.parse().ok();
    status
        .filter(|status: &StatusCode| !status.is_informational())
        .ok_or_else(|| format!("invalid status {text:?}; write a number from 200 to 999"))
}

fn parse_field(text: &str) -> Result<HeaderValue, String> {
    let value = HeaderValue::from_str(text).ok();
    value
        .filter(|value| value.to_str().is_ok())
        .ok_or_else(|| "not a header field value; write printable ASCII".to_owned())
}

fn parse_body(text: &str) -> Result<TokenBody, String> {
    TokenBody::from_str(text, false).map_err(|_| {
        let known = TokenBody::value_variants()
            .iter()
            .filter_map(TokenBody::to_possible_value);
        let known: Vec<_> = known.map(|value| value.get_name().to_owned()).collect();
        format!("unknown body {text:?}; known bodies: {}", known.join(", "))
    })
}

fn parse_json(text: &str) -> Result<Option<String>, String> {
    if text == "none" {
        return Ok(None);
    }
    match serde_json::from_str::<IgnoredAny>(text) {
        Ok(_) => Ok(Some(text.to_owned())),
        Err(error) => Err(format!("not JSON: {error}")),
    }
}
