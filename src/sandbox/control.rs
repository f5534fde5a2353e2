//! Control endpoint of the sandbox, on the same port as the API: sets faults, revokes tokens and
//! reports counts.
//!
//! It takes no token. Its calls are not recorded, and faults do not apply to them.

use http::header::ALLOW;
use http::request::Parts;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::fault_syntax::FaultError;
use super::faults::Fault;
use super::inject::ActiveFaults;
use super::request_body::CountingBody;
use super::response::{SandboxResponse, json, with_header};
use super::state::SandboxContext;

pub(super) const PREFIX: &str = "/sandbox/";

const MAX_LIST_BYTES: u64 = 64 << 10;

/// Serves one call below [`PREFIX`].
pub(super) async fn respond(
    sandbox: &SandboxContext,
    head: &Parts,
    body: &mut CountingBody,
) -> SandboxResponse {
    let path = head.uri.path().strip_prefix(PREFIX).unwrap_or_default();
    let response = match (path, &head.method) {
        ("faults", &Method::GET) => list_faults(sandbox),
        ("faults", &Method::PUT) => {
            let list = body.collect(MAX_LIST_BYTES).await.unwrap_or_default();
            match parse_list(&list) {
                Ok(faults) => set_faults(sandbox, faults),
                Err(problem) => json(StatusCode::BAD_REQUEST, &problem),
            }
        }
        ("faults", &Method::DELETE) => set_faults(sandbox, Vec::new()),
        ("revoke", &Method::POST) => {
            let revoked = sandbox.state().tokens.revoke_access();
            json(StatusCode::OK, &json!({"revoked": revoked}))
        }
        ("calls", &Method::GET) => count_calls(sandbox),
        ("faults", _) => method_not_allowed("GET, PUT, DELETE"),
        ("revoke", _) => method_not_allowed("POST"),
        ("calls", _) => method_not_allowed("GET"),
        _ => json(
            StatusCode::NOT_FOUND,
            &json!({"error": "unknown path; known paths: faults, revoke, calls"}),
        ),
    };
    body.discard().await;
    response
}

fn set_faults(sandbox: &SandboxContext, faults: Vec<Fault>) -> SandboxResponse {
    sandbox.state().faults = ActiveFaults::new(faults);
    list_faults(sandbox)
}

fn list_faults(sandbox: &SandboxContext) -> SandboxResponse {
    let texts: Vec<_> = sandbox
        .state()
        .faults
        .all()
        .iter()
        .map(Fault::to_string)
        .collect();
    json(StatusCode::OK, &json!(texts))
}

fn count_calls(sandbox: &SandboxContext) -> SandboxResponse {
    let state = sandbox.state();
    let counts = json!({
        "token_calls": state.token_calls,
        "tokens_issued": state.tokens.access_count(),
        "api_calls": state.log.total(),
        "answered": state.log.counts,
    });
    json(StatusCode::OK, &counts)
}

/// Parses a JSON list of faults.
///
/// # Errors
/// The JSON error to send.
fn parse_list(list: &[u8]) -> Result<Vec<Fault>, Value> {
    let Ok(texts) = serde_json::from_slice::<Vec<String>>(list) else {
        return Err(
            json!({"error": "expected a JSON list of strings, such as [\"token-status=500*3\"]"}),
        );
    };
    let parse = |text: &String| {
        text.parse()
            .map_err(|error: FaultError| json!({"error": error.to_string(), "fault": text}))
    };
    texts.iter().map(parse).collect()
}

fn method_not_allowed(allow: &'static str) -> SandboxResponse {
    let error = json!({"error": format!("this path only accepts {allow}")});
    with_header(json(StatusCode::METHOD_NOT_ALLOWED, &error), ALLOW, allow)
}
