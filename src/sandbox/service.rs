//! HTTP service of the sandbox: routes a request, records API calls and applies faults.

use http::Request;
use http::header::{HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use http::request::Parts;

use super::api_call::ApiCall;
use super::api_error::ApiError;
use super::authorization::Authorization;
use super::call_log::RecordedCall;
use super::faults::FaultTarget;
use super::inject::{FaultPlan, ForcedOutcome};
use super::request_body::CountingBody;
use super::response::SandboxResponse;
use super::state::SandboxContext;
use super::{api, control, random, token_endpoint};
use crate::downstream::CallerBody;
use crate::gbg;

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const SOURCE: HeaderName = HeaderName::from_static("x-gbg-source");

/// Serves one request.
pub(super) async fn respond(
    sandbox: &SandboxContext,
    request: Request<CallerBody>,
) -> SandboxResponse {
    let (head, body) = request.into_parts();
    let mut body = CountingBody::new(body);
    let request_id = random::uuid();
    let path = head.uri.path();
    let mut plan = FaultPlan::default();
    let mut response = if path.starts_with(control::PREFIX) {
        control::respond(sandbox, &head, &mut body).await
    } else if path == token_endpoint::PATH {
        plan = sandbox.state().faults.plan(FaultTarget::Token);
        token_endpoint::respond(sandbox, &head, &mut body, plan.outcome).await
    } else {
        plan = sandbox.state().faults.plan(FaultTarget::Api);
        respond_to_api_call(sandbox, &head, &mut body, &request_id, plan.outcome).await
    };
    if let Ok(value) = HeaderValue::try_from(request_id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    plan.apply(response, &sandbox.stop).await
}

async fn respond_to_api_call(
    sandbox: &SandboxContext,
    head: &Parts,
    body: &mut CountingBody,
    request_id: &str,
    outcome: Option<ForcedOutcome>,
) -> SandboxResponse {
    let authorization = Authorization::classify(&head.headers, &sandbox.state().tokens);
    let info = gbg::parse_path(head.uri.path());
    let response = match (outcome, info.version) {
        (Some(ForcedOutcome::Status(status)), _) => Err(ApiError::Injected(status)),
        (_, Some(version)) => {
            api::respond(&mut ApiCall::new(
                sandbox,
                head,
                version,
                &info,
                &authorization,
                body,
            ))
            .await
        }
        (_, None) => Err(ApiError::NotFound("path")),
    };
    let response = response.unwrap_or_else(|error| error.response(info.version));
    body.discard().await;
    let path = head.uri.path_and_query();
    let path = path.map_or(head.uri.path(), |path| path.as_str());
    sandbox.state().log.add(RecordedCall {
        method: head.method.clone(),
        path: path.to_owned(),
        status: response.status(),
        authorization,
        user_agent: text(&head.headers, &USER_AGENT),
        source: text(&head.headers, &SOURCE),
        fields: head.headers.keys().cloned().collect(),
        body_bytes: body.bytes(),
        request_id: request_id.to_owned(),
    });
    response
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let value = headers.get(name)?;
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
}
