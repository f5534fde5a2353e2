//! API v2: a journey asks for interactions, and is polled until it is completed.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::call::{Call, Fields, Needs};
use super::call_log::bearer;
use super::journeys::{Journey, Phase, Rejected, task_schema};
use super::refusal::Refusal;
use super::response::{Answer, json};
use super::tokens::{CONNECT_LIFE, END_USER_LIFE};
use super::{Shared, extras};

/// Whom the interaction asks, as its `outstanding` and a submission's `participants` name it.
const PARTICIPANT: &str = "grn:::gbg:design:domainelement:sandbox-identity@latest";

/// The in-band code for an instance that is not, or no longer, there; 410 was seen, 404 is
/// invented.
const GONE: u16 = 410;
const UNKNOWN: u16 = 404;

/// Answers one call below `/v2/captain/`.
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
        "journey/start" => start(shared, &call.post(Access).await?),
        "journey/interaction/fetch" => {
            fetch_interaction(shared, &call.post(AccessOrEndUser).await?)
        }
        "journey/interaction/submit" => {
            submit_interaction(shared, &call.post(AccessOrEndUser).await?)
        }
        "journey/state/fetch" => fetch_state(shared, &call.post(Access).await?),
        "journey/state/delete" => delete_state(shared, &call.post(Access).await?),
        "journey/device/start" => {
            let fields = call.post(Access).await?;
            with_journey(shared, &fields, |_, _| ())?;
            Ok(device_started(
                shared,
                &fields,
                json!(CONNECT_LIFE.as_secs()),
            ))
        }
        "journey/device/connect" => {
            let fields = call.post(Connect).await?;
            connect_device(call, &fields)
        }
        "journey/task/list" => list_tasks(shared, &call.post(AccessOrEndUser).await?),
        "journey/task/update" => update_task(shared, &call.post(AccessOrEndUser).await?),
        "journey/task/schema" => {
            let fields = call.post(AccessOrEndUser).await?;
            find_task(shared, fields.text("taskId")?).map(|()| ok(&task_schema()))
        }
        "journey/task/list/schema" => list_schemas(shared, &call.post(AccessOrEndUser).await?),
        "sandbox/sink" => {
            call.admit(Method::POST, Access)?;
            extras::sink(call.body).await
        }
        path => match path.strip_prefix("sandbox/bytes/") {
            Some(count) => {
                call.admit(Method::GET, Access)?;
                extras::bytes(count)
            }
            // A path that does not exist is not told from one that needs another token.
            None => Err(Refusal::Unauthorized),
        },
    }
}

fn start(shared: &Shared, fields: &Fields) -> Result<Answer, Refusal> {
    let resource_id = fields.text("resourceId")?;
    if !fields.at("/context/config").is_object() {
        return Err(Refusal::Field("context.config", "object"));
    }
    let page = match fields.at("/context/config/delivery").as_str() {
        Some("page") => true,
        Some("api") => false,
        _ => return Err(Refusal::Field("context.config.delivery", "page or api")),
    };
    let id = shared.state().journeys.start(resource_id, Phase::Preparing);
    let mut body = json!({
        "instanceId": id,
        "status": "started",
        "message": format!("Journey {id} started successfully"),
    });
    if page {
        // The sandbox has no such page: whoever opens it is told so.
        body["instanceUrl"] = json!(format!("{}/journey/{id}", shared.base_url));
    }
    Ok(json(StatusCode::CREATED, &body))
}

fn fetch_interaction(shared: &Shared, fields: &Fields) -> Result<Answer, Refusal> {
    let id = fields.text("instanceId")?;
    let mut state = shared.state();
    let Some(journey) = state.journeys.find(id) else {
        return Ok(in_band(UNKNOWN, "There is no such instance"));
    };
    let phase = journey.look();
    let mut body = json!({"instanceId": id, "journey": {"status": phase.status()}, "outstanding": [], "instructions": []});
    match phase {
        Phase::Preparing | Phase::Checking => body["processing"] = json!(true),
        Phase::Collecting => {
            body["interactionId"] = json!("grn:::gbg:design:interaction:sandbox@latest");
            body["interaction"] = interaction();
            body["outstanding"] = json!([PARTICIPANT]);
        }
        Phase::Completed => {
            body["interactionId"] = json!("grn:::gbg:design:interaction:end@latest")
        }
    }
    Ok(ok(&body))
}

fn interaction() -> Value {
    json!({
        "grId": "grn:::gbg:design:interaction:sandbox@latest",
        "resource": {
            "id": "sandbox", "name": "Who are you?", "version": "latest", "type": "interaction",
            "data": {"pages": [{"id": "page-1", "label": "Identity", "cards": [{"id": "identity"}]}]},
        },
        "collects": [{"ref": PARTICIPANT, "spec": "required"}],
        "consumes": [],
    })
}

fn submit_interaction(shared: &Shared, fields: &Fields) -> Result<Answer, Refusal> {
    let id = fields.text("instanceId")?;
    fields.text("interactionId")?;
    let mut state = shared.state();
    let Some(journey) = state.journeys.find(id) else {
        return Ok(in_band(UNKNOWN, "There is no such instance"));
    };
    match journey.submit(fields.has("/participants"), fields.has("/context/subject")) {
        Ok(()) => Ok(ok(&json!({"status": "success"}))),
        Err(Rejected::NoData) => Err(Refusal::Field("context.subject", "object")),
        Err(Rejected::Over) => Ok(in_band(GONE, "The interaction is over")),
    }
}

/// An error that comes with the status 200.
fn in_band(code: u16, message: &str) -> Answer {
    ok(&json!({"status": "error", "code": code, "message": message}))
}

fn fetch_state(shared: &Shared, fields: &Fields) -> Result<Answer, Refusal> {
    with_journey(shared, fields, |id, journey| {
        let phase = journey.look();
        let (resource, version) = journey.resource();
        let mut process = json!({
            "journey": {
                "name": "Sandbox", "id": resource, "version": version, "startedAt": journey.started(),
            },
            "instance": {"id": id, "instanceId": id},
            "steps": [],
        });
        let mut result = json!({"status": "pending", "advice": {}});
        if phase == Phase::Completed {
            process["journey"]["endedAt"] = json!(journey.ended());
            process["steps"] = json!([{
                "name": "Identity", "nodeId": "sandbox-1", "outcome": "Match: 1+1",
                "outcomeClassification": "positive", "result": {"status": "complete", "outcome": "Match: 1+1"},
            }]);
            result = json!({"status": "completed", "advice": {"match": "1+1"}});
        }
        // The subject would be what was collected, of which nothing is kept.
        let context = json!({"process": process, "subject": {}, "result": result});
        ok(&json!({"instanceId": id, "status": phase.status(), "context": context}))
    })
}

fn delete_state(shared: &Shared, fields: &Fields) -> Result<Answer, Refusal> {
    let id = fields.text("instanceId")?;
    if shared.state().journeys.delete(id) {
        Ok(ok(&json!({"instanceId": id})))
    } else {
        Err(Refusal::NotFound("instance"))
    }
}

/// The answer of `device/start` in both versions, which write `expiresIn` differently.
pub(super) fn device_started(shared: &Shared, fields: &Fields, expires_in: Value) -> Answer {
    let token = shared.state().tokens.issue_connect();
    let body = json!({
        "connectToken": token, "tokenType": "connect", "expiresIn": expires_in, "scope": fields.at("/scope"),
    });
    json(StatusCode::CREATED, &body)
}

/// The answer of `device/connect` in both versions: the connect token, in the body and as the
/// bearer, is used up.
pub(super) fn connect_device(call: &Call<'_>, fields: &Fields) -> Result<Answer, Refusal> {
    let token = fields.text("connectToken")?;
    let mut state = call.shared.state();
    if bearer(call.headers) != Some(token) || !state.tokens.use_up(token) {
        return Err(Refusal::Unauthorized);
    }
    let body = json!({
        "endUserToken": state.tokens.issue_end_user(),
        "tokenType": "end-user",
        "expiresIn": END_USER_LIFE.as_secs(),
    });
    Ok(json(StatusCode::CREATED, &body))
}

fn list_tasks(shared: &Shared, fields: &Fields) -> Result<Answer, Refusal> {
    with_journey(shared, fields, |id, journey| {
        let phase = journey.look();
        let tasks = if phase == Phase::Collecting {
            json!([{"taskId": task_id(id)}])
        } else {
            json!([])
        };
        ok(&json!({"instanceId": id, "status": phase.status(), "tasks": tasks}))
    })
}

fn list_schemas(shared: &Shared, fields: &Fields) -> Result<Answer, Refusal> {
    with_journey(shared, fields, |id, journey| {
        let tasks = if journey.look() == Phase::Collecting {
            json!([{"taskId": task_id(id), "schema": {"$ref": "#/schemas/identity"}}])
        } else {
            json!([])
        };
        ok(&json!({"tasks": tasks, "schemas": {"identity": task_schema()}}))
    })
}

fn update_task(shared: &Shared, fields: &Fields) -> Result<Answer, Refusal> {
    let task = fields.text("taskId")?;
    let complete = match fields.text("intent")? {
        "Complete" => true,
        "Save" | "Validate" => false,
        _ => return Err(Refusal::Field("intent", "Save, Complete or Validate")),
    };
    with_journey(shared, fields, |id, journey| {
        if task != task_id(id) || (complete && journey.submit(true, true).is_err()) {
            return Err(Refusal::NotFound("task"));
        }
        Ok(ok(&json!({"instanceId": id, "taskId": task})))
    })?
}

fn find_task(shared: &Shared, task: &str) -> Result<(), Refusal> {
    let id = task.strip_prefix("Tk").unwrap_or_default();
    shared
        .state()
        .journeys
        .find(id)
        .map(|_| ())
        .ok_or(Refusal::NotFound("task"))
}

/// A task carries the number of its instance: there is one task a journey.
fn task_id(instance_id: &str) -> String {
    format!("Tk{instance_id}")
}

/// Does something with the journey that `instanceId` names.
fn with_journey<T>(
    shared: &Shared,
    fields: &Fields,
    act: impl FnOnce(&str, &mut Journey) -> T,
) -> Result<T, Refusal> {
    let id = fields.text("instanceId")?;
    let mut state = shared.state();
    let journey = state
        .journeys
        .find(id)
        .ok_or(Refusal::NotFound("instance"))?;
    Ok(act(id, journey))
}

fn ok(body: &Value) -> Answer {
    json(StatusCode::OK, body)
}
