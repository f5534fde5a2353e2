//! The answer that carries a token, and what may be wrong with it on purpose.

use std::time::Duration;

use http::StatusCode;
use http::header::HeaderValue;
use serde_json::json;

use super::faults::{FaultKind, TokenBody};
use super::inject::InForce;
use super::response::{Answer, Body, json_text, text};
use super::tokens::Tokens;
use super::{Shared, State, faulty_body};

const HTML: &str =
    "<!DOCTYPE html>\n<html><head><title>Sign on</title></head><body>Sign on</body></html>\n";

/// Issues a token, or what the faults in force make of it.
pub(super) fn answer(shared: &Shared) -> Answer {
    let mut state = shared.state();
    let State { faults, tokens, .. } = &mut *state;
    let body = faults.take(|kind| match kind {
        FaultKind::TokenBody(body) => Some(*body),
        _ => None,
    });
    // No token leaves with these, so none is issued.
    match body {
        Some(TokenBody::Empty) => return json_text(StatusCode::OK, String::new()),
        Some(TokenBody::Html) => {
            return text(
                StatusCode::OK,
                HeaderValue::from_static("text/html;charset=utf-8"),
                HTML.to_owned(),
            );
        }
        _ => {}
    }
    let mut life = faults
        .take(|kind| match kind {
            FaultKind::TokenLife(life) => Some(*life),
            _ => None,
        })
        .unwrap_or(shared.options.token_life);
    let token = (body != Some(TokenBody::NoToken)).then(|| issue(faults, tokens, &mut life));
    let good = written(faults, token.as_deref(), life);
    drop(state);
    match body {
        Some(TokenBody::Crlf) => json_text(StatusCode::OK, good + "\r\n"),
        Some(TokenBody::Bom) => json_text(StatusCode::OK, format!("\u{feff}{good}")),
        Some(TokenBody::Truncated) => streamed(faulty_body::too_short(good)),
        Some(TokenBody::Endless) => streamed(faulty_body::endless(good, shared.stopped.clone())),
        Some(TokenBody::Drip) => streamed(faulty_body::drip(good, shared.stopped.clone())),
        Some(TokenBody::Empty | TokenBody::Html | TokenBody::NoToken) | None => {
            json_text(StatusCode::OK, good)
        }
    }
}

/// A token; `life` becomes what it has left.
fn issue(faults: &mut InForce, tokens: &mut Tokens, life: &mut Duration) -> String {
    let before = if faults.has(&FaultKind::TokenSame) {
        tokens.newest_access()
    } else {
        None
    };
    let token = match before {
        Some((token, left)) => {
            *life = left;
            token
        }
        None => tokens.issue_access(*life),
    };
    if faults.has(&FaultKind::TokenBad) {
        token + "\r\nX-Injected: 1"
    } else {
        token
    }
}

/// The body, in the order of PingFederate's; `expires_in` may be no value that `serde_json` can
/// hold.
fn written(faults: &mut InForce, token: Option<&str>, life: Duration) -> String {
    let kind = faults.take(|kind| match kind {
        FaultKind::TokenType(other) => Some(other.clone()),
        _ => None,
    });
    let expires_in = faults.take(|kind| match kind {
        FaultKind::TokenExpiresIn(value) => Some(value.clone()),
        _ => None,
    });
    let fields = [
        token.map(|token| format!(r#""access_token":{}"#, json!(token))),
        Some(format!(
            r#""token_type":{}"#,
            json!(kind.as_deref().unwrap_or("Bearer"))
        )),
        expires_in
            .unwrap_or_else(|| Some(life.as_secs().to_string()))
            .map(|value| format!(r#""expires_in":{value}"#)),
    ];
    format!(
        "{{{}}}",
        fields.into_iter().flatten().collect::<Vec<_>>().join(",")
    )
}

fn streamed(body: Body) -> Answer {
    json_text(StatusCode::OK, String::new()).map(|_| body)
}
