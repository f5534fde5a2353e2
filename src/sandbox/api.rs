//! API calls by path: those that both versions share are served here.

use http::header::AUTHORIZATION;
use http::{Method, StatusCode};
use serde_json::json;

use super::api_call::{ApiCall, CallFields, RequiredToken};
use super::api_error::ApiError;
use super::authorization::credentials;
use super::journey::task_schema;
use super::response::{SandboxResponse, json, ok};
use super::tokens::{CONNECT_LIFETIME, END_USER_LIFETIME};
use super::{api_v1, api_v2, tasks};
use crate::gbg::ApiVersion;

pub(super) async fn respond(call: &mut ApiCall<'_>) -> Result<SandboxResponse, ApiError> {
    use RequiredToken::{Access, AccessOrEndUser, Connect, Nothing};
    match call.path {
        "journey/health" => {
            call.authorize(Method::GET, Nothing)?;
            Ok(ok(&json!({"message": "OK"})))
        }
        "version" => {
            call.authorize(Method::GET, Nothing)?;
            Ok(ok(&json!({"version": "sandbox"})))
        }
        "journey/task/schema" => {
            let fields = call.post(AccessOrEndUser).await?;
            let task = fields.required("taskId")?;
            if call.sandbox.state().journeys.has_task(task) {
                Ok(ok(&task_schema()))
            } else {
                Err(ApiError::NotFound("task"))
            }
        }
        "journey/task/list" => {
            let fields = call.post(AccessOrEndUser).await?;
            tasks::list(call, &fields)
        }
        "journey/task/list/schema" => {
            let fields = call.post(AccessOrEndUser).await?;
            tasks::list_schemas(call, &fields)
        }
        "journey/task/update" => {
            let fields = call.post(AccessOrEndUser).await?;
            tasks::update(call, &fields)
        }
        "journey/device/start" => {
            let fields = call.post(Access).await?;
            start_device(call, &fields)
        }
        "journey/device/connect" => {
            let fields = call.post(Connect).await?;
            connect_device(call, &fields)
        }
        _ => match call.version {
            ApiVersion::V1 => api_v1::respond(call).await,
            ApiVersion::V2 => api_v2::respond(call).await,
        },
    }
}

fn start_device(call: &ApiCall<'_>, fields: &CallFields) -> Result<SandboxResponse, ApiError> {
    let seconds = CONNECT_LIFETIME.as_secs();
    let expires_in = match call.version {
        ApiVersion::V1 => json!(seconds.to_string()),
        ApiVersion::V2 => json!(seconds),
    };
    call.with_journey(fields, |_, _| ())?;
    let token = call.sandbox.state().tokens.issue_connect();
    let body = json!({
        "connectToken": token, "tokenType": "connect", "expiresIn": expires_in, "scope": fields.get("/scope"),
    });
    Ok(json(StatusCode::CREATED, &body))
}

/// Uses up the connect token, which must be the bearer and in the body.
fn connect_device(call: &ApiCall<'_>, fields: &CallFields) -> Result<SandboxResponse, ApiError> {
    let token = fields.required("connectToken")?;
    let field = call.headers.get(AUTHORIZATION);
    let bearer = field.and_then(|field| credentials(field, "bearer"));
    let mut state = call.sandbox.state();
    if bearer != Some(token) || !state.tokens.consume_connect(token) {
        return Err(ApiError::Unauthorized);
    }
    let body = json!({
        "endUserToken": state.tokens.issue_end_user(),
        "tokenType": "end-user",
        "expiresIn": END_USER_LIFETIME.as_secs(),
    });
    Ok(json(StatusCode::CREATED, &body))
}
