//! The sandbox's own control endpoint, beside the API on the same port: what is to go wrong, and
//! what was counted.
//!
//! It takes no token and is no part of the API: what comes here is not recorded, and never goes
//! wrong on purpose.

use http::header::{ALLOW, HeaderValue};
use http::request::Parts;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::body::Arriving;
use super::inject::InForce;
use super::response::{Answer, json, with};
use super::{Fault, FaultError, Shared};

/// Where the control endpoint is.
pub(super) const PREFIX: &str = "/sandbox/";

/// The largest list of faults that is read.
const LIST_LIMIT: u64 = 64 << 10;

/// Answers one call below [`PREFIX`].
pub(super) async fn answer(shared: &Shared, head: &Parts, body: &mut Arriving) -> Answer {
    let path = head.uri.path().strip_prefix(PREFIX).unwrap_or_default();
    let answer = match (path, &head.method) {
        ("faults", &Method::GET) => tell_faults(shared),
        ("faults", &Method::PUT) => match read(&body.collect(LIST_LIMIT).await.unwrap_or_default())
        {
            Ok(faults) => {
                shared.state().faults = InForce::new(faults);
                tell_faults(shared)
            }
            Err(problem) => json(StatusCode::BAD_REQUEST, &problem),
        },
        ("faults", &Method::DELETE) => {
            shared.state().faults = InForce::new([]);
            tell_faults(shared)
        }
        ("revoke", &Method::POST) => {
            let revoked = shared.state().tokens.revoke_access();
            json(StatusCode::OK, &json!({"revoked": revoked}))
        }
        ("calls", &Method::GET) => tell_calls(shared),
        ("faults", _) => refuse(StatusCode::METHOD_NOT_ALLOWED, "GET, PUT, DELETE"),
        ("revoke", _) => refuse(StatusCode::METHOD_NOT_ALLOWED, "POST"),
        ("calls", _) => refuse(StatusCode::METHOD_NOT_ALLOWED, "GET"),
        _ => json(
            StatusCode::NOT_FOUND,
            &json!({"error": "there are faults, revoke and calls"}),
        ),
    };
    body.discard().await;
    answer
}

fn tell_faults(shared: &Shared) -> Answer {
    let texts: Vec<_> = shared
        .state()
        .faults
        .all()
        .iter()
        .map(Fault::to_string)
        .collect();
    json(StatusCode::OK, &json!(texts))
}

fn tell_calls(shared: &Shared) -> Answer {
    let state = shared.state();
    let counts = json!({
        "token_calls": state.token_calls,
        "tokens_issued": state.tokens.issued(),
        "api_calls": state.record.count(),
        "answered": state.record.answered(),
    });
    json(StatusCode::OK, &counts)
}

/// The faults of a JSON list of texts; otherwise the JSON that says what is wrong with it.
fn read(list: &[u8]) -> Result<Vec<Fault>, Value> {
    let Ok(texts) = serde_json::from_slice::<Vec<String>>(list) else {
        return Err(
            json!({"error": "send a JSON list of texts, such as [\"token-status=500*3\"]"}),
        );
    };
    let read = |text: &String| {
        text.parse()
            .map_err(|error: FaultError| json!({"error": error.to_string(), "fault": text}))
    };
    texts.iter().map(read).collect()
}

fn refuse(status: StatusCode, allow: &'static str) -> Answer {
    let answer = json(
        status,
        &json!({"error": format!("this path takes {allow} only")}),
    );
    with(answer, ALLOW, HeaderValue::from_static(allow))
}
