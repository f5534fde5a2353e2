//! How things are, as JSON: for scripts, and for the person who asks whether it is us, the proxy or
//! GBG.
//!
//! `docs/status.md` explains the fields; a test compares the two.

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::Handles;
use super::callers;
use super::diagnosis::{Finding, Level, Snapshot, verdicts};
use super::health::NotReady;
use super::history::{History, REACH};
use super::outcomes::{GbgFailure, Tally};
use super::words::fetch_failure;
use crate::error::{Party, REASONS};
use crate::metrics::{FailedRequest, ResponseSource};

/// What the verdict is of.
const RECENT: Duration = Duration::from_secs(120);

/// Everything, as it is now.
pub(super) fn json(handles: &Handles, history: &History) -> String {
    let metrics = &handles.metrics;
    let requests = metrics.requests();
    let reloads = metrics.reloads();
    let trouble = NotReady::of(handles);
    let names = metrics.callers();
    let named = names.iter().zip(&requests.callers);
    let by_caller: Vec<_> = named
        .filter(|(name, of)| !name.is_empty() && of.requests > 0)
        .map(|(name, of)| (name, of.requests))
        .collect();
    let now = Instant::now();
    let (by_source, by_status) = (
        counts(requests.by_source.clone()),
        counts(requests.by_status.clone()),
    );
    let (total, refusals) = (requests.total, counts(requests.refusals.clone()));
    let tally = Tally::of(requests);
    let (recent, recent_time) = history.since(now, &tally, RECENT);
    let (period, _) = history.since(now, &tally, REACH);
    let facts = facts(handles, recent);
    let all = verdicts(&facts);
    let recent = &facts.recent;
    let milliseconds = |part| {
        recent
            .times
            .quantile(part)
            .map(|time| (time * 1e4).round() / 10.0)
    };
    let status = json!({
        "verdict": verdict(&all[0]),
        "also": all[1..].iter().map(verdict).collect::<Vec<_>>(),
        "parties": parties(&all, recent),
        "state": trouble.as_ref().map_or("ready", NotReady::state),
        "problem": trouble.as_ref().map(NotReady::what),
        "fix": trouble.as_ref().map(NotReady::fix),
        "version": env!("GBG_PROXY_VERSION"),
        "uptime_seconds": metrics.uptime().as_secs(),
        "configuration": {
            "reloads": reloads.applied,
            "refused": reloads.rejected,
            "problem": reloads.problem,
        },
        "token": token(handles, facts.held),
        "in_flight": metrics.admission.in_flight(),
        "queue": metrics.admission.queued(),
        "recent": {
            "seconds": recent_time.as_secs(),
            "requests": recent.requests,
            "p50_ms": milliseconds(0.5),
            "p95_ms": milliseconds(0.95),
            "p99_ms": milliseconds(0.99),
        },
        "requests": {
            "total": total,
            "by_source": by_source,
            "by_status": by_status,
            "by_caller": counts(by_caller),
            "refusals": refusals,
        },
        "callers": callers::json(&names, &handles.limits.borrow(), &period, (recent, recent_time)),
        "failures": metrics.failures().iter().map(|of| failure(of, &names)).collect::<Vec<_>>(),
    });
    format!("{status:#}\n")
}

fn facts(handles: &Handles, recent: Tally) -> Snapshot {
    Snapshot {
        draining: *handles.draining.borrow(),
        held: handles.tokens.current().is_some(),
        failure: handles
            .metrics
            .token
            .last_fetch()
            .and_then(|fetch| fetch.failure),
        refused_config: handles.metrics.reloads().problem.is_some(),
        recent,
    }
}

fn verdict(verdict: &Finding) -> Value {
    json!({
        "kind": verdict.kind,
        "level": verdict.level.name(),
        "fault": verdict.fault.map(|fault| fault.to_string()),
        "partial": verdict.partial,
        "title": verdict.title,
        "detail": verdict.what,
        "fix": verdict.fix,
    })
}

/// How each of the three does: the worst that is theirs to fix, and how many of the last requests
/// failed by them. What nobody has heard of is not called well.
fn parties(all: &[Finding], recent: &Tally) -> Value {
    let faults = recent.faults();
    let of = |fault: Party, failures: u64| {
        let worst = all.iter().find(|verdict| verdict.fault == Some(fault));
        let is_unknown = fault == Party::Upstream && failures == 0 && recent.times.count() == 0;
        json!({
            "level": match worst {
                None if is_unknown => "unknown",
                worst => worst.map_or(Level::Ok, |verdict| verdict.level).name(),
            },
            "title": worst.map(|verdict| verdict.title),
            "failures": failures,
        })
    };
    json!({
        "caller": of(Party::Caller, faults.caller),
        "proxy": of(Party::Proxy, faults.proxy),
        "upstream": of(Party::Upstream, faults.upstream),
        "disconnected": { "failures": faults.gone },
    })
}

fn token(handles: &Handles, held: bool) -> Value {
    let token = &handles.metrics.token;
    let last = token.last_fetch();
    let failing = last.is_some_and(|fetch| fetch.failure.is_some());
    let next = failing
        .then(|| handles.tokens.error().retry_after())
        .flatten();
    json!({
        "state": match (held, failing) {
            (true, false) => "valid",
            (true, true) => "valid_refresh_failing",
            (false, true) => "failing",
            (false, false) => "pending",
        },
        "generation": token.generation(),
        "expires_in_seconds": token.remaining_seconds(),
        "age_seconds": token.age_seconds(),
        "last_fetch": last.map(|fetch| json!({
            "outcome": if fetch.failure.is_some() { "failed" } else { "ok" },
            "seconds_ago": fetch.ended.elapsed().as_secs(),
            "duration_ms": fetch.took.as_millis() as u64,
        })),
        "last_failure": token.last_failure().map(|(reason, seconds_ago)| {
            let (what, fix) = fetch_failure(reason);
            json!({ "reason": reason, "seconds_ago": seconds_ago, "cause": what, "fix": fix })
        }),
        "next_try_in_seconds": next.map(|next| next.as_secs()),
    })
}

fn failure(failure: &FailedRequest, callers: &[String]) -> Value {
    let reason = REASONS
        .iter()
        .find(|reason| Some(reason.name) == failure.reason);
    let of_gbg = GbgFailure::of(failure.endpoint, failure.status)
        .filter(|_| failure.source == ResponseSource::Gbg);
    // What is ours and has no reason is a login that was refused.
    let of_login = (failure.source == ResponseSource::Proxy).then_some(Party::Caller);
    let fault = reason
        .map(|reason| reason.fault)
        .or(of_gbg.map(GbgFailure::fault))
        .or(of_login);
    let caller = callers.get(failure.caller).filter(|name| !name.is_empty());
    json!({
        "at": humantime::format_rfc3339_seconds(failure.ended_at).to_string(),
        "seconds_ago": failure.ended.elapsed().as_secs(),
        "request_id": failure.id,
        "endpoint": failure.endpoint,
        "caller": caller,
        "status": (failure.status != 0).then_some(failure.status),
        "source": failure.source.name(),
        "reason": failure.reason,
        "fault": fault.map(|fault| fault.to_string()),
        "fix": reason.map(|reason| reason.action),
    })
}

fn counts<K: ToString>(counts: impl IntoIterator<Item = (K, u64)>) -> Value {
    Value::Object(
        counts
            .into_iter()
            .map(|(name, count)| (name.to_string(), json!(count)))
            .collect::<Map<_, _>>(),
    )
}
