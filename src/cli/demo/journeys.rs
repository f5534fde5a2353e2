//! The walks: a whole journey of each API version, each step judged by what the caller got and what
//! the sandbox saw.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::caller::{Answer, post};
use super::{Failure, say};
use crate::cli::sandbox::who;
use crate::gbg::{V1, V2};
use crate::sandbox::{Authorization, Sandbox};

/// How often a state is asked for before the journey counts as stuck.
const PATIENCE: usize = 10;

/// A journey of v2: start, fetch, submit, state until Completed.
pub(super) async fn walk_v2(addr: SocketAddr, sandbox: &Sandbox) -> Result<(), Failure> {
    let walk = Walk::begin("a v2 journey", V2, addr, sandbox)?;
    let start = json!({
        "resourceId": "demo@latest",
        "context": {"config": {"delivery": "api"}, "subject": {"identity": {"firstName": "Ada"}}},
    });
    let start = walk.step("journey/start", &start, 201).await?;
    let instance = json!({"instanceId": start["instanceId"]});
    let interaction = walk
        .until("journey/interaction/fetch", &instance, |answer| {
            answer["interactionId"].is_string()
        })
        .await?;
    let submit = json!({
        "instanceId": start["instanceId"],
        "interactionId": interaction["interactionId"],
        "participants": [{"domainElementId": "identity"}],
        "context": {"subject": {"documents": [{"side1Image": "aGVsbG8="}]}},
    });
    walk.step("journey/interaction/submit", &submit, 200)
        .await?;
    walk.until("journey/state/fetch", &instance, |answer| {
        answer["status"] == "Completed"
    })
    .await?;
    Ok(())
}

/// A journey of v1: start, list the tasks, update each, state until Completed.
pub(super) async fn walk_v1(addr: SocketAddr, sandbox: &Sandbox) -> Result<(), Failure> {
    let walk = Walk::begin("a v1 journey", V1, addr, sandbox)?;
    let start = json!({"resourceId": "demo@latest", "context": {"subject": {"identity": {"firstName": "Ada"}}}});
    let start = walk.step("journey/start", &start, 200).await?;
    let instance = json!({"instanceId": start["instanceId"]});
    let list = walk.step("journey/task/list", &instance, 200).await?;
    for task in list["tasks"].as_array().into_iter().flatten() {
        let update = json!({
            "intent": "Complete",
            "instanceId": start["instanceId"],
            "taskId": task["taskId"],
            "context": {"subject": {"identity": {"lastNames": ["Lovelace"]}}},
        });
        walk.step("journey/task/update", &update, 200).await?;
    }
    walk.until("journey/state/fetch", &instance, |answer| {
        answer["status"] == "Completed"
    })
    .await?;
    Ok(())
}

struct Walk<'a> {
    prefix: &'static str,
    addr: SocketAddr,
    sandbox: &'a Sandbox,
}

impl<'a> Walk<'a> {
    fn begin(
        title: &str,
        prefix: &'static str,
        addr: SocketAddr,
        sandbox: &'a Sandbox,
    ) -> Result<Self, Failure> {
        say(&format!(
            "{title:<45} status     ms   the caller sent    the sandbox saw"
        ))?;
        Ok(Walk {
            prefix,
            addr,
            sandbox,
        })
    }

    /// One call that must be answered with `status`.
    async fn step(&self, path: &str, body: &Value, status: u16) -> Result<Value, Failure> {
        let path = format!("{}{path}", self.prefix);
        let answer = post(self.addr, &path, body)
            .await
            .map_err(|why| Failure::Failed(format!("{path}: {why}")))?;
        self.judge(&path, &answer, status)
            .map_err(Failure::Failed)?;
        Ok(answer.body)
    }

    /// The same call until its answer is `done`.
    async fn until(
        &self,
        path: &str,
        body: &Value,
        done: fn(&Value) -> bool,
    ) -> Result<Value, Failure> {
        for _ in 0..PATIENCE {
            let answer = self.step(path, body, 200).await?;
            if done(&answer) {
                return Ok(answer);
            }
        }
        Err(Failure::Failed(format!(
            "{path} did not come to its end in {PATIENCE} calls"
        )))
    }

    fn judge(&self, path: &str, answer: &Answer, status: u16) -> Result<(), String> {
        let seen = self.sandbox.seen().pop().filter(|seen| seen.path == path);
        let seen = seen.ok_or_else(|| {
            format!(
                "{path}: the sandbox did not see the call; the caller got {}",
                answer.body
            )
        })?;
        let line = format!(
            "  POST {path:<38} {:>6} {:>6.1}   {:<18} {}",
            answer.status,
            answer.took.as_secs_f64() * 1e3,
            if answer.authorized {
                "Authorization"
            } else {
                "no Authorization"
            },
            who(&seen.authorization),
        );
        say(&line).map_err(|_| "standard output is closed".to_owned())?;
        if answer.authorized {
            return Err(format!("{path}: the caller sent an Authorization"));
        }
        if answer.status != status {
            return Err(format!(
                "{path}: status {} instead of {status}: {}",
                answer.status, answer.body
            ));
        }
        match seen.authorization {
            Authorization::Bearer { current: true, .. } => Ok(()),
            _ => Err(format!("{path}: it did not arrive with the current token")),
        }
    }
}
