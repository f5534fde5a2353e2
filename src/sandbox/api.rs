//! API calls by path: those that both versions share are served here.

use serde_json::json;

use super::api_call::ApiCall;
use super::api_error::ApiError;
use super::response::{SandboxResponse, ok};
use super::{api_v1, api_v2, devices, schemas, tasks};
use crate::gbg::ApiVersion;

pub(super) async fn respond(call: &mut ApiCall<'_>) -> Result<SandboxResponse, ApiError> {
    match call.path {
        "journey/health" => {
            call.check_method("GET")?;
            Ok(ok(&json!({"message": "OK"})))
        }
        "version" => {
            call.check_method("GET")?;
            Ok(ok(&json!({"version": "sandbox"})))
        }
        "journey/task/schema" => {
            let fields = call.post().await?;
            schemas::of_task(call, &fields)
        }
        "journey/task/list" => {
            let fields = call.post().await?;
            tasks::list(call, &fields)
        }
        "journey/task/list/schema" => {
            let fields = call.post().await?;
            tasks::list_schemas(call, &fields)
        }
        "journey/task/update" => {
            let fields = call.post().await?;
            tasks::update(call, &fields)
        }
        "journey/device/start" => {
            let fields = call.post().await?;
            devices::start(call, &fields)
        }
        "journey/device/connect" => {
            let fields = call.post().await?;
            devices::connect(call, &fields)
        }
        _ => match call.version {
            ApiVersion::V1 => api_v1::respond(call).await,
            ApiVersion::V2 => api_v2::respond(call).await,
        },
    }
}
