//! Token and upstream of each account.

use serde_json::{Value, json};

use crate::admin::diagnosis::AccountSnapshot;
use crate::admin::handles::{AccountHandle, Handles};
use crate::admin::timestamp::rfc3339;
use crate::gbg::Region;
use crate::metrics::{TokenMetrics, UpstreamFailure};
use crate::token::TokenReader;

pub(super) fn snapshots(handles: &Handles) -> Vec<AccountSnapshot> {
    let mut failures = handles.metrics.upstream_failures();
    let accounts = handles.accounts.iter().map(|account| AccountSnapshot {
        name: account.name.clone(),
        has_token: account.tokens.current().is_some(),
        fetch_failure: account.tokens.last_fetch().and_then(|fetch| fetch.failure),
        upstream_failure: failures.remove(&account.name),
    });
    accounts.collect()
}

pub(super) fn json(handles: &Handles, snapshots: &[AccountSnapshot]) -> Value {
    let metrics = &handles.metrics;
    let counts = metrics.upstream_counts();
    let accounts = handles.accounts.iter().zip(snapshots);
    let accounts = accounts.map(|(account, snapshot)| {
        let AccountHandle { name, api, tokens } = account;
        let upstream = counts.get(name).copied().unwrap_or_default();
        let failure = snapshot.upstream_failure.as_ref();
        json!({
            "name": name,
            "region": Region::at(api).map(|region| region.to_string()),
            "token": token_json(tokens, snapshot, &metrics.token(name)),
            "upstream": {
                "url": api,
                "connections": upstream.open,
                "connections_opened": upstream.opened,
                "connections_reused": upstream.reused,
                "circuit_openings": upstream.circuit_openings,
                "last_failure": failure.map(failure_json),
            },
        })
    });
    accounts.collect()
}

fn failure_json(failure: &UpstreamFailure) -> Value {
    json!({
        "reason": failure.reason,
        "cause": failure.cause,
        "at": rfc3339(failure.ended_at),
        "seconds_ago": failure.ended.elapsed().as_secs(),
    })
}

fn token_json(tokens: &TokenReader, snapshot: &AccountSnapshot, metrics: &TokenMetrics) -> Value {
    let failing = snapshot.fetch_failure.is_some();
    let next = failing.then(|| tokens.error().retry_after()).flatten();
    json!({
        "state": match (snapshot.has_token, failing) {
            (true, false) => "valid",
            (true, true) => "valid_refresh_failing",
            (false, true) => "failing",
            (false, false) => "pending",
        },
        "generation": metrics.generation(),
        "expires_in_seconds": metrics.remaining_seconds(),
        "age_seconds": metrics.age_seconds(),
        "last_fetch": tokens.last_fetch().map(|fetch| json!({
            "outcome": if fetch.failure.is_some() { "failed" } else { "ok" },
            "seconds_ago": fetch.ended.elapsed().as_secs(),
            "duration_ms": fetch.duration.as_millis() as u64,
        })),
        "last_failure": tokens.last_failed_fetch().and_then(|fetch| {
            let failure = fetch.failure?;
            Some(json!({
                "reason": failure.kind.name(),
                "seconds_ago": fetch.ended.elapsed().as_secs(),
                "cause": &*failure.cause,
                "fix": failure.fix,
            }))
        }),
        "next_try_in_seconds": next.map(|next| next.as_secs()),
    })
}
