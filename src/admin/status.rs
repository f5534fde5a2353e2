//! How things are, as JSON: for scripts, and for the person who asks whether it is us, the proxy or GBG.

use serde_json::{Map, Value, json};

use super::Handles;
use super::health::Trouble;

/// Everything, as it is now.
pub(super) fn json(handles: &Handles) -> String {
    let metrics = &handles.metrics;
    let requests = metrics.requests();
    let reloads = metrics.reloads();
    let trouble = Trouble::of(handles);
    let status = json!({
        "state": trouble.as_ref().map_or("ready", Trouble::state),
        "problem": trouble.as_ref().map(Trouble::what),
        "mend": trouble.as_ref().map(Trouble::mend),
        "version": env!("GBG_PROXY_VERSION"),
        "uptime_seconds": metrics.uptime().as_secs(),
        "configuration": {
            "reloads": reloads.taken,
            "refused": reloads.refused,
            "problem": reloads.problem,
        },
        "token": {
            "generation": metrics.token.generation(),
            "expires_in_seconds": metrics.token.left(),
            "age_seconds": metrics.token.age(),
            "last_failure": metrics.token.last_failure().map(|(reason, seconds_ago)| {
                json!({ "reason": reason, "seconds_ago": seconds_ago })
            }),
        },
        "in_flight": metrics.places.in_flight(),
        "queue": metrics.places.queue(),
        "requests": {
            "total": requests.total,
            "by_source": counts(requests.by_source),
            "by_status": counts(requests.by_status),
            "by_caller": counts(requests.by_caller),
            "refusals": counts(requests.refusals),
        },
    });
    format!("{status:#}\n")
}

fn counts<K: ToString>(counts: impl IntoIterator<Item = (K, u64)>) -> Value {
    Value::Object(
        counts.into_iter().map(|(name, count)| (name.to_string(), json!(count))).collect::<Map<_, _>>(),
    )
}
