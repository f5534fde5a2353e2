//! Demo journeys: one of each API version, with each step checked in the response and in the
//! sandbox's log.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::client::{DemoResponse, post};
use crate::cli::calls_view::describe_authorization;
use crate::cli::error::CommandError;
use crate::cli::output::print_line;
use crate::gbg::{V1, V2};
use crate::sandbox::{Authorization, Sandbox};

/// Polls after which a journey counts as stuck.
const MAX_POLLS: usize = 10;

/// Runs a journey of v2: start, fetch, submit, poll the state until Completed.
pub(super) async fn run_v2(addr: SocketAddr, sandbox: &Sandbox) -> Result<(), CommandError> {
    let journey = DemoJourney::begin("a v2 journey", V2, addr, sandbox)?;
    let start = json!({
        "resourceId": "demo@latest",
        "context": {"config": {"delivery": "api"}, "subject": {"identity": {"firstName": "Ada"}}},
    });
    let start = journey.step("journey/start", &start, 201).await?;
    let instance = json!({"instanceId": start["instanceId"]});
    let interaction = journey
        .poll_until("journey/interaction/fetch", &instance, |body| {
            body["interactionId"].is_string()
        })
        .await?;
    let submit = json!({
        "instanceId": start["instanceId"],
        "interactionId": interaction["interactionId"],
        "participants": [{"domainElementId": "identity"}],
        "context": {"subject": {"documents": [{"side1Image": "aGVsbG8="}]}},
    });
    journey
        .step("journey/interaction/submit", &submit, 200)
        .await?;
    journey
        .poll_until("journey/state/fetch", &instance, |body| {
            body["status"] == "Completed"
        })
        .await?;
    Ok(())
}

/// Runs a journey of v1: start, list the tasks, update each, poll the state until Completed.
pub(super) async fn run_v1(addr: SocketAddr, sandbox: &Sandbox) -> Result<(), CommandError> {
    let journey = DemoJourney::begin("a v1 journey", V1, addr, sandbox)?;
    let start = json!({"resourceId": "demo@latest", "context": {"subject": {"identity": {"firstName": "Ada"}}}});
    let start = journey.step("journey/start", &start, 200).await?;
    let instance = json!({"instanceId": start["instanceId"]});
    let list = journey.step("journey/task/list", &instance, 200).await?;
    for task in list["tasks"].as_array().into_iter().flatten() {
        let update = json!({
            "intent": "Complete",
            "instanceId": start["instanceId"],
            "taskId": task["taskId"],
            "context": {"subject": {"identity": {"lastNames": ["Lovelace"]}}},
        });
        journey.step("journey/task/update", &update, 200).await?;
    }
    journey
        .poll_until("journey/state/fetch", &instance, |body| {
            body["status"] == "Completed"
        })
        .await?;
    Ok(())
}

struct DemoJourney<'a> {
    prefix: &'static str,
    addr: SocketAddr,
    sandbox: &'a Sandbox,
}

impl<'a> DemoJourney<'a> {
    fn begin(
        title: &str,
        prefix: &'static str,
        addr: SocketAddr,
        sandbox: &'a Sandbox,
    ) -> Result<Self, CommandError> {
        print_line(&format!(
            "{title:<45} status     ms   caller sent        sandbox received"
        ))?;
        Ok(DemoJourney {
            prefix,
            addr,
            sandbox,
        })
    }

    /// Makes one call, whose response must have `status`.
    async fn step(&self, path: &str, body: &Value, status: u16) -> Result<Value, CommandError> {
        let path = format!("{}{path}", self.prefix);
        let response = post(self.addr, &path, body)
            .await
            .map_err(|reason| CommandError::Failed(format!("{path}: {reason}")))?;
        self.check(&path, &response, status)
            .map_err(CommandError::Failed)?;
        Ok(response.body)
    }

    /// Repeats a call until `is_done` accepts the body of its response.
    async fn poll_until(
        &self,
        path: &str,
        body: &Value,
        is_done: fn(&Value) -> bool,
    ) -> Result<Value, CommandError> {
        for _ in 0..MAX_POLLS {
            let received = self.step(path, body, 200).await?;
            if is_done(&received) {
                return Ok(received);
            }
        }
        Err(CommandError::Failed(format!(
            "{path} did not complete within {MAX_POLLS} calls"
        )))
    }

    fn check(&self, path: &str, response: &DemoResponse, status: u16) -> Result<(), String> {
        let recorded = self.sandbox.recorded_calls().pop();
        let recorded = recorded.filter(|call| call.path == path).ok_or_else(|| {
            format!(
                "{path}: the sandbox did not receive the call; the caller got {}",
                response.body
            )
        })?;
        let line = format!(
            "  POST {path:<38} {:>6} {:>6.1}   no Authorization   {}",
            response.status,
            response.duration.as_secs_f64() * 1e3,
            describe_authorization(&recorded.authorization),
        );
        print_line(&line).map_err(|_| "standard output is closed".to_owned())?;
        if response.status != status {
            return Err(format!(
                "{path}: status {} instead of {status}: {}",
                response.status, response.body
            ));
        }
        match recorded.authorization {
            Authorization::Bearer { current: true, .. } => Ok(()),
            _ => Err(format!(
                "{path}: the sandbox did not receive the current token"
            )),
        }
    }
}
