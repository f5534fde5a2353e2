//! Table of the faults: name, example value, effect and parser of each.

use std::time::Duration;

use clap::ValueEnum;
use http::{HeaderValue, StatusCode};
use serde::de::IgnoredAny;

use super::super::faults::FaultTarget::{self, Api, Token};
use super::super::faults::{FaultEffect, InstanceRate as Rate, TokenBody};
use crate::config::parse_duration;

/// The syntax of one fault.
pub(super) struct SyntaxRow {
    pub(super) name: &'static str,
    /// An example value; empty for a fault without a value.
    pub(super) example: &'static str,
    pub(super) effect: &'static str,
    pub(super) target: FaultTarget,
    /// Parses the value, which is empty for a fault without one.
    pub(super) parse: ParseEffect,
}

/// Returns the reason as an error.
type ParseEffect = fn(&str) -> Result<FaultEffect, String>;

const fn row(
    name: &'static str,
    example: &'static str,
    effect: &'static str,
    target: FaultTarget,
    parse: ParseEffect,
) -> SyntaxRow {
    SyntaxRow {
        name,
        example,
        effect,
        target,
        parse,
    }
}

#[rustfmt::skip]
pub(super) static SYNTAX: [SyntaxRow; 19] = {
    use FaultEffect::*;
    [
        row("token-delay", "2s", "respond late", Token, delay),
        row("token-hang", "", "never respond", Token, |_| Ok(Hang)),
        row("token-reset", "", "close the connection instead of responding", Token, |_| Ok(Reset)),
        row("token-status", "500", "respond with this status and a body that is not JSON", Token, status),
        row("token-retry-after", "7", "add a Retry-After field, in seconds or as a date", Token, retry_after),
        row("token-body", "html", "send a faulty body: empty, html, no-token, crlf, bom, truncated, endless or drip", Token, body),
        row("token-type", "mac", "send another token_type", Token, |value| Ok(Type(value.to_owned()))),
        row("token-bad", "", "put a line end into the token", Token, |_| Ok(Bad)),
        row("token-same", "", "return the previous token until it expires", Token, |_| Ok(Same)),
        row("token-expires-in", "-1", "send any JSON as expires_in; none omits it", Token, expires_in),
        row("token-lifetime", "3s", "issue a token with another lifetime", Token, lifetime),
        row("refuse-client", "", "respond with 401 invalid_client", Token, |_| Ok(RefuseClient)),
        row("api-status", "503", "respond with this status in GBG's error format", Api, status),
        row("api-delay", "1s", "respond late", Api, delay),
        row("api-hang", "", "never respond", Api, |_| Ok(Hang)),
        row("api-reset", "", "close the connection instead of responding", Api, |_| Ok(Reset)),
        row("api-truncated", "", "break off in the middle of the body", Api, |_| Ok(Truncate)),
        row("api-retry-after", "7", "add a Retry-After field, in seconds or as a date", Api, retry_after),
        row("api-instance-rate", "2/10s", "respond with 429 to more submissions and uploads of a journey in this time", Api, instance_rate),
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
}

fn delay(text: &str) -> Result<FaultEffect, String> {
    duration(text).map(FaultEffect::Delay)
}

fn lifetime(text: &str) -> Result<FaultEffect, String> {
    duration(text).map(FaultEffect::Lifetime)
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

/// A 1xx status is refused: it does not end a response (RFC 9110 section 15.2).
fn status(text: &str) -> Result<FaultEffect, String> {
    match text.parse::<StatusCode>() {
        Ok(status) if !status.is_informational() => Ok(FaultEffect::Status(status)),
        _ => Err(format!(
            "invalid status {text:?}; write a number from 200 to 999"
        )),
    }
}

fn retry_after(text: &str) -> Result<FaultEffect, String> {
    match HeaderValue::from_str(text) {
        Ok(value) if value.to_str().is_ok() => Ok(FaultEffect::RetryAfter(value)),
        _ => Err("not a header field value; write printable ASCII".to_owned()),
    }
}

fn instance_rate(text: &str) -> Result<FaultEffect, String> {
    let (calls, per) = text.split_once('/').unwrap_or_default();
    let per = parse_duration(per).ok().filter(|per| !per.is_zero());
    match (calls.parse(), per) {
        (Ok(calls), Some(per)) => Ok(FaultEffect::InstanceRate(Rate { calls, per })),
        _ => Err(format!(
            "invalid rate {text:?}; write a number of calls and a time, such as 2/10s"
        )),
    }
}

fn body(text: &str) -> Result<FaultEffect, String> {
    let body = TokenBody::from_str(text, false).map_err(|_| {
        let known = TokenBody::value_variants()
            .iter()
            .filter_map(TokenBody::to_possible_value);
        let known: Vec<_> = known.map(|value| value.get_name().to_owned()).collect();
        format!("unknown body {text:?}; known bodies: {}", known.join(", "))
    })?;
    Ok(FaultEffect::Body(body))
}

fn expires_in(text: &str) -> Result<FaultEffect, String> {
    if text == "none" {
        return Ok(FaultEffect::ExpiresIn(None));
    }
    match serde_json::from_str::<IgnoredAny>(text) {
        Ok(_) => Ok(FaultEffect::ExpiresIn(Some(text.to_owned()))),
        Err(error) => Err(format!("not JSON: {error}")),
    }
}
