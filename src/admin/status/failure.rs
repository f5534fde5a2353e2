//! Groups of failed requests.

use serde_json::{Value, json};

use crate::admin::outcomes::GbgFailure;
use crate::admin::timestamp::rfc3339;
use crate::error::{Party, REASONS};
use crate::metrics::{FailureGroup, ResponseSource};

pub(super) fn json(failures: &[FailureGroup], callers: &[String]) -> Value {
    let groups = failures.iter().map(|group| group_json(group, callers));
    groups.collect()
}

fn group_json(group: &FailureGroup, callers: &[String]) -> Value {
    let reason = REASONS
        .iter()
        .find(|reason| Some(reason.name) == group.reason);
    let gbg_failure = GbgFailure::classify(group.status, group.is_token_rejection)
        .filter(|_| group.source == ResponseSource::Gbg);
    // A failure of the proxy without a reason is a rejected login.
    let rejected_login = (group.source == ResponseSource::Proxy).then_some(Party::Caller);
    let fault = reason
        .map(|reason| reason.fault)
        .or(gbg_failure.map(GbgFailure::fault))
        .or(rejected_login);
    let caller = callers.get(group.caller).filter(|name| !name.is_empty());
    json!({
        "count": group.count,
        "first_at": rfc3339(group.first.wall),
        "last_at": rfc3339(group.last.wall),
        "seconds_ago": group.last.monotonic.elapsed().as_secs(),
        "request_id": group.id,
        "gbg_request_id": group.gbg_id,
        "endpoint": group.endpoint,
        "caller": caller,
        "account": group.account,
        "status": (group.status != 0).then_some(group.status),
        "source": group.source.name(),
        "reason": group.reason,
        "fault": fault.map(|fault| fault.to_string()),
        "fix": reason.map(|reason| reason.action),
    })
}
