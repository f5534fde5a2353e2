//! API v1: a journey starts synchronously, and asks for tasks.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::Shared;
use super::api_v2::{connect_device, device_started};
use super::call::{Call, Fields, Needs};
use super::journeys::{Journey, Phase, task_schema};
use super::refusal::Refusal;
use super::response::{Answer, json};
use super::tokens::CONNECT_LIFE;

/// The variant of the journey's only task, by which its results are found.
const VARIANT: &str = "sandbox-identity";

/// Answers one call below `/captain/api/`.
pub(super) async fn answer(call: &mut Call<'_>) -> Result<Answer, Refusal> {
    use Needs::{Access, AccessOrEndUser, Connect, Nothing};
    let shared = call.shared;
    match call.path {
        "journey/health" => call
            .admit(Method::GET, Nothing)
            .map(|()| ok(&json!({"message": "OK"}))),
        "version" => call
            .admit(Method::GET, Nothing)
            .map(|()| ok(&json!({"version": "sandbox"}))),
        "journey/start" => start(shared, &call.post(Access).await?).await,
        "journey/task/list" => list_tasks(shared, &call.post(AccessOrEndUser).await?),
        "journey/task/schema" => {
            let fields = call.post(AccessOrEndUser).await?;
            find_task(shared, fields.text("taskId")?).map(|()| ok(&task_schema()))
        }
        "journey/task/list/schema" => list_schemas(shared, &call.post(AccessOrEndUser).await?),
        "journey/task/update" => update_task(shared, &call.post(AccessOrEndUser).await?),
        "journey/state/fetch" => fetch_state(shared, &call.post(Access).await?),
        "journey/device/start" => {
            let fields = call.post(Access).await?;
            with_journey(shared, &fields, |_, _| ())?;
            Ok(device_started(
                shared,
                &fields,
                json!(CONNECT_LIFE.as_secs().to_string()),
            ))
        }
        "journey/device/connect" => {
            let fields = call.post(Connect).await?;
            connect_device(call, &fields)
        }
        _ => Err(Refusal::NotFound("path")),
    }
}

async fn start(shared: &Shared, fields: &Fields) -> Result<Answer, Refusal> {
    let resource_id = fields.text("resourceId")?;
    let asynchronous = fields.at("/context/config/async") == true;
    let phase = if asynchronous {
        Phase::Preparing
    } else {
        tokio::time::sleep(shared.options.v1_start_time).await;
        Phase::Collecting
    };
    let number = shared.state().journeys.start(resource_id, phase);
    Ok(ok(&json!({"instanceId": format!("Pi{number}")})))
}

fn list_tasks(shared: &Shared, fields: &Fields) -> Result<Answer, Refusal> {
    with_journey(shared, fields, |number, journey| {
        let phase = journey.look();
        let tasks = if phase == Phase::Collecting {
            json!([{"taskId": format!("Tk{number}"), "variantId": VARIANT}])
        } else {
            json!([])
        };
        ok(&json!({"instanceId": format!("Pi{number}"), "status": phase.status(), "tasks": tasks}))
    })
}

fn list_schemas(shared: &Shared, fields: &Fields) -> Result<Answer, Refusal> {
    with_journey(shared, fields, |number, journey| {
        let phase = journey.look();
        let tasks = if phase == Phase::Collecting {
            json!([{"taskId": format!("Tk{number}"), "schema": {"$ref": format!("#/schemas/{VARIANT}")}}])
        } else {
            json!([])
        };
        let body =
            json!({"status": phase.status(), "tasks": tasks, "schemas": {VARIANT: task_schema()}});
        json(StatusCode::CREATED, &body)
    })
}

fn update_task(shared: &Shared, fields: &Fields) -> Result<Answer, Refusal> {
    let task = fields.text("taskId")?;
    // Older documentation writes COMPLETE.
    let complete = match fields.text("intent")?.to_ascii_lowercase().as_str() {
        "complete" => true,
        "save" | "validate" => false,
        _ => return Err(Refusal::Field("intent", "Save, Complete or Validate")),
    };
    with_journey(shared, fields, |number, journey| {
        if task.strip_prefix("Tk") != Some(number)
            || (complete && journey.submit(true, true).is_err())
        {
            return Err(Refusal::NotFound("task"));
        }
        Ok(ok(
            &json!({"instanceId": format!("Pi{number}"), "taskId": task}),
        ))
    })?
}

fn fetch_state(shared: &Shared, fields: &Fields) -> Result<Answer, Refusal> {
    with_journey(shared, fields, |number, journey| {
        let phase = journey.look();
        let mut body = json!({
            "instanceId": format!("Pi{number}"),
            "status": phase.status(),
            "metaData": {"createdTime": journey.started()},
        });
        if let Some(ended) = journey.ended() {
            body["metaData"]["completedTime"] = json!(ended);
        }
        if fields.has("/filterKeys") {
            let flow = if phase == Phase::Completed {
                json!({VARIANT: {"result": {"status": "completed", "outcome": "Match: 1+1"}}})
            } else {
                json!({})
            };
            body["data"] = json!({"context": {"process": {"flow": flow}}});
        }
        ok(&body)
    })
}

fn find_task(shared: &Shared, task: &str) -> Result<(), Refusal> {
    let number = task.strip_prefix("Tk").unwrap_or_default();
    shared
        .state()
        .journeys
        .find(number)
        .map(|_| ())
        .ok_or(Refusal::NotFound("task"))
}

/// Does something with the journey that `instanceId` names: `Pi` and its number.
fn with_journey<T>(
    shared: &Shared,
    fields: &Fields,
    act: impl FnOnce(&str, &mut Journey) -> T,
) -> Result<T, Refusal> {
    let number = fields
        .text("instanceId")?
        .strip_prefix("Pi")
        .unwrap_or_default();
    let mut state = shared.state();
    let journey = state
        .journeys
        .find(number)
        .ok_or(Refusal::NotFound("instance"))?;
    Ok(act(number, journey))
}

fn ok(body: &Value) -> Answer {
    json(StatusCode::OK, body)
}
