//! State of the proxy as JSON (`/status`), for scripts and for the status page.
//!
//! `docs/status.md` explains the fields; a test compares the two.

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::callers;
use super::diagnosis::{Finding, Severity, Snapshot, TokenSnapshot, diagnose};
use super::handles::{AccountHandle, Handles};
use super::health::NotReady;
use super::history::{HISTORY_LENGTH, History};
use super::outcomes::{GbgFailure, OutcomeCounts};
use crate::error::{Party, REASONS};
use crate::metrics::{FailedRequest, Metrics, ResponseSource, TokenMetrics, UpstreamCounts};
use crate::token::TokenReader;

/// Window of the diagnosis.
const RECENT_WINDOW: Duration = Duration::from_secs(120);

pub(super) fn json(handles: &Handles, history: &History) -> String {
    let metrics = &handles.metrics;
    let requests = metrics.requests();
    let reloads = metrics.reloads();
    let not_ready = NotReady::check(handles);
    let names = metrics.callers();
    let named = names.iter().zip(&requests.callers);
    let by_caller: Vec<_> = named
        .filter(|(name, of)| !name.is_empty() && of.requests > 0)
        .map(|(name, of)| (name, of.requests))
        .collect();
    let now = Instant::now();
    let (by_source, by_status) = (
        count_map(requests.by_source.clone()),
        count_map(requests.by_status.clone()),
    );
    let (total, refusals) = (requests.total, count_map(requests.refusals.clone()));
    let counts = OutcomeCounts::new(requests);
    let (recent, recent_time) = history.since(now, &counts, RECENT_WINDOW);
    let (period, _) = history.since(now, &counts, HISTORY_LENGTH);
    let snapshot = snapshot(handles, recent);
    let findings = diagnose(&snapshot);
    let tokens = handles.accounts.iter().zip(&snapshot.tokens);
    let upstream = metrics.upstream_counts();
    let accounts = tokens.map(|(account, token)| {
        let upstream = upstream.get(&account.name).copied().unwrap_or_default();
        account_json(account, *token, upstream, metrics)
    });
    let recent = &snapshot.recent;
    let milliseconds = |part| {
        recent
            .times
            .quantile(part)
            .map(|time| (time * 1e4).round() / 10.0)
    };
    let status = json!({
        "verdict": finding_json(&findings[0]),
        "also": findings[1..].iter().map(finding_json).collect::<Vec<_>>(),
        "parties": parties(&findings, recent),
        "state": not_ready.as_ref().map_or("ready", NotReady::state),
        "problem": not_ready.as_ref().map(NotReady::cause),
        "fix": not_ready.as_ref().map(NotReady::fix),
        "version": env!("GBG_PROXY_VERSION"),
        "uptime_seconds": metrics.uptime().as_secs(),
        "configuration": {
            "reloads": reloads.applied,
            "refused": reloads.rejected,
            "problem": reloads.problem,
        },
        "accounts": accounts.collect::<Vec<_>>(),
        "in_flight": metrics.admission.in_flight(),
        "queued": metrics.admission.queued(),
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
            "by_caller": count_map(by_caller),
            "refusals": refusals,
        },
        "callers": callers::json(&names, &handles.limits.borrow(), &period, (recent, recent_time)),
        "failures": metrics.failures().iter().map(|failure| failure_json(failure, &names)).collect::<Vec<_>>(),
    });
    format!("{status:#}\n")
}

fn snapshot(handles: &Handles, recent: OutcomeCounts) -> Snapshot {
    Snapshot {
        draining: *handles.draining.borrow(),
        tokens: handles.accounts.iter().map(token_snapshot).collect(),
        config_rejected: handles.metrics.reloads().problem.is_some(),
        recent,
    }
}

fn token_snapshot(account: &AccountHandle) -> TokenSnapshot {
    let last = account.tokens.last_fetch();
    TokenSnapshot {
        is_valid: account.tokens.current().is_some(),
        fetch_failure: last.and_then(|fetch| fetch.failure),
    }
}

fn finding_json(finding: &Finding) -> Value {
    json!({
        "kind": finding.kind,
        "level": finding.level.name(),
        "fault": finding.fault.map(|fault| fault.to_string()),
        "partial": finding.partial,
        "title": finding.title,
        "detail": finding.what,
        "fix": finding.fix,
    })
}

/// State of each party: its most severe finding, and the number of recent requests that failed
/// because of it. Without a response of GBG its level is `unknown`.
fn parties(findings: &[Finding], recent: &OutcomeCounts) -> Value {
    let by_party = recent.failures_by_party();
    let of = |fault: Party, failures: u64| {
        let worst = findings.iter().find(|finding| finding.fault == Some(fault));
        let is_unknown = fault == Party::Upstream && failures == 0 && recent.times.count() == 0;
        json!({
            "level": match worst {
                None if is_unknown => "unknown",
                worst => worst.map_or(Severity::Ok, |finding| finding.level).name(),
            },
            "title": worst.map(|finding| finding.title),
            "failures": failures,
        })
    };
    json!({
        "caller": of(Party::Caller, by_party.caller),
        "proxy": of(Party::Proxy, by_party.proxy),
        "upstream": of(Party::Upstream, by_party.upstream),
        "disconnected": { "failures": by_party.disconnected },
    })
}

fn account_json(
    account: &AccountHandle,
    token: TokenSnapshot,
    upstream: UpstreamCounts,
    metrics: &Metrics,
) -> Value {
    json!({
        "name": account.name,
        "token": token_json(&account.tokens, token, &metrics.token(&account.name)),
        "upstream": {
            "connections": upstream.open,
            "connections_opened": upstream.opened,
            "connections_reused": upstream.reused,
            "circuit_openings": upstream.circuit_openings,
        },
    })
}

fn token_json(tokens: &TokenReader, token: TokenSnapshot, metrics: &TokenMetrics) -> Value {
    let failing = token.fetch_failure.is_some();
    let next = failing.then(|| tokens.error().retry_after()).flatten();
    json!({
        "state": match (token.is_valid, failing) {
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
            let kind = fetch.failure?;
            Some(json!({
                "reason": kind.name(),
                "seconds_ago": fetch.ended.elapsed().as_secs(),
                "cause": tokens.last_cause().as_deref().unwrap_or(kind.summary()),
                "fix": kind.fix(),
            }))
        }),
        "next_try_in_seconds": next.map(|next| next.as_secs()),
    })
}

fn failure_json(failure: &FailedRequest, callers: &[String]) -> Value {
    let reason = REASONS
        .iter()
        .find(|reason| Some(reason.name) == failure.reason);
    let gbg_failure = GbgFailure::classify(failure.endpoint, failure.status)
        .filter(|_| failure.source == ResponseSource::Gbg);
    // A failure of the proxy without a reason is a rejected login.
    let rejected_login = (failure.source == ResponseSource::Proxy).then_some(Party::Caller);
    let fault = reason
        .map(|reason| reason.fault)
        .or(gbg_failure.map(GbgFailure::fault))
        .or(rejected_login);
    let caller = callers.get(failure.caller).filter(|name| !name.is_empty());
    json!({
        "at": humantime::format_rfc3339_seconds(failure.ended_at).to_string(),
        "seconds_ago": failure.ended.elapsed().as_secs(),
        "request_id": failure.id,
        "endpoint": failure.endpoint,
        "caller": caller,
        "account": failure.account,
        "status": (failure.status != 0).then_some(failure.status),
        "source": failure.source.name(),
        "reason": failure.reason,
        "fault": fault.map(|fault| fault.to_string()),
        "fix": reason.map(|reason| reason.action),
    })
}

fn count_map<K: ToString>(counts: impl IntoIterator<Item = (K, u64)>) -> Value {
    Value::Object(
        counts
            .into_iter()
            .map(|(name, count)| (name.to_string(), json!(count)))
            .collect::<Map<_, _>>(),
    )
}

#[cfg(test)]
mod tests {
    use super::super::handles::tests::{handles, without_token};
    use super::*;
    use crate::rt::liveness;

    #[test]
    fn each_account_has_its_own_connections() {
        let accounts = ["retail", "lending"].map(|name| (name, without_token()));
        let handles = handles(accounts.into(), liveness::channel().0);
        let worker = &handles.metrics.workers()[0];
        let _open = worker.account("lending").connections.open();
        worker.account("lending").record_reuse();
        let status = json(&handles, &History::default());
        let status: Value = serde_json::from_str(&status).unwrap();
        let upstream = |index: usize| {
            let upstream = &status["accounts"][index]["upstream"];
            ["connections", "connections_opened", "connections_reused"]
                .map(|field| upstream[field].as_u64().unwrap())
        };
        assert_eq!([0, 1].map(upstream), [[0; 3], [1; 3]]);
    }
}
