//! Token response, with the faults of the token and of its body.

use std::time::Duration;

use http::StatusCode;
use serde_json::json;

use super::faults::FaultTarget::Token;
use super::faults::{FaultEffect, TokenBody};
use super::faulty_body;
use super::inject::ActiveFaults;
use super::response::{SandboxBody, SandboxResponse, json_text, text};
use super::state::{SandboxContext, SandboxState};
use super::tokens::Tokens;

const HTML: &str =
    "<!DOCTYPE html>\n<html><head><title>Sign on</title></head><body>Sign on</body></html>\n";

/// Issues a token as the active faults demand.
pub(super) fn respond(sandbox: &SandboxContext) -> SandboxResponse {
    let mut state = sandbox.state();
    let SandboxState { faults, tokens, .. } = &mut *state;
    let body = faults.consume(Token, |effect| match effect {
        FaultEffect::Body(body) => Some(*body),
        _ => None,
    });
    // These bodies carry no token, so none is issued.
    match body {
        Some(TokenBody::Empty) => return json_text(StatusCode::OK, String::new()),
        Some(TokenBody::Html) => {
            return text(StatusCode::OK, "text/html;charset=utf-8", HTML.to_owned());
        }
        _ => {}
    }
    let mut lifetime = faults
        .consume(Token, |effect| match effect {
            FaultEffect::Lifetime(lifetime) => Some(*lifetime),
            _ => None,
        })
        .unwrap_or(sandbox.options.token_lifetime);
    let token = (body != Some(TokenBody::NoToken)).then(|| issue(faults, tokens, &mut lifetime));
    let valid = token_json(faults, token.as_deref(), lifetime);
    drop(state);
    match body {
        Some(TokenBody::Crlf) => json_text(StatusCode::OK, valid + "\r\n"),
        Some(TokenBody::Bom) => json_text(StatusCode::OK, format!("\u{feff}{valid}")),
        Some(TokenBody::Truncated) => {
            faulty_body::truncate_last_byte(json_text(StatusCode::OK, valid))
        }
        Some(TokenBody::Endless) => streamed(faulty_body::endless(valid, sandbox.stop.clone())),
        Some(TokenBody::Drip) => streamed(faulty_body::drip(valid, sandbox.stop.clone())),
        Some(TokenBody::Empty | TokenBody::Html | TokenBody::NoToken) | None => {
            json_text(StatusCode::OK, valid)
        }
    }
}

/// Returns a token, and sets `lifetime` to its remaining lifetime.
fn issue(faults: &mut ActiveFaults, tokens: &mut Tokens, lifetime: &mut Duration) -> String {
    let newest = if faults.consume_effect(Token, &FaultEffect::Same) {
        tokens.newest_access()
    } else {
        None
    };
    let token = match newest {
        Some((token, left)) => {
            *lifetime = left;
            token
        }
        None => tokens.issue_access(*lifetime),
    };
    if faults.consume_effect(Token, &FaultEffect::Bad) {
        token + "\r\nX-Injected: 1"
    } else {
        token
    }
}

/// Returns the body in the field order of PingFederate. It is a text, since `serde_json` cannot hold
/// every `expires_in` of a fault.
fn token_json(faults: &mut ActiveFaults, token: Option<&str>, lifetime: Duration) -> String {
    let token_type = faults.consume(Token, |effect| match effect {
        FaultEffect::Type(other) => Some(other.clone()),
        _ => None,
    });
    let expires_in = faults.consume(Token, |effect| match effect {
        FaultEffect::ExpiresIn(value) => Some(value.clone()),
        _ => None,
    });
    let fields = [
        token.map(|token| format!(r#""access_token":{}"#, json!(token))),
        Some(format!(
            r#""token_type":{}"#,
            json!(token_type.as_deref().unwrap_or("Bearer"))
        )),
        expires_in
            .unwrap_or_else(|| Some(lifetime.as_secs().to_string()))
            .map(|value| format!(r#""expires_in":{value}"#)),
    ];
    format!(
        "{{{}}}",
        fields.into_iter().flatten().collect::<Vec<_>>().join(",")
    )
}

fn streamed(body: SandboxBody) -> SandboxResponse {
    json_text(StatusCode::OK, String::new()).map(|_| body)
}
