//! State of the proxy as JSON (`/status`), for scripts and for the status page.
//!
//! `docs/status.md` explains the fields; a test compares the two.

mod account;
mod failure;

use std::time::Instant;

use serde_json::{Map, Value, json};

use super::callers;
use super::diagnosis::{Finding, Severity, Snapshot, diagnose};
use super::handles::Handles;
use super::health::NotReady;
use super::history::{HISTORY_LENGTH, History};
use super::outcomes::OutcomeCounts;
use super::timestamp::unix_time;
use crate::config::{CERTIFICATE_NOTICE, Ending, unix_seconds};
use crate::error::Party;
use crate::metrics::CertificateEnd;

pub(super) fn json(handles: &Handles, history: &History) -> String {
    let metrics = &handles.metrics;
    let requests = metrics.requests();
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
    let counts = OutcomeCounts::new(requests, &metrics.refused);
    let (recent, recent_time) = history.recent(now, &counts);
    let (period, _) = history.since(now, &counts, HISTORY_LENGTH);
    let snapshot = snapshot(handles, recent);
    let findings = diagnose(&snapshot);
    let reloads = &snapshot.reloads;
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
        "problem": not_ready.as_ref().map(ToString::to_string),
        "fix": not_ready.as_ref().map(NotReady::fix),
        "instance": {
            "hostname": handles.instance.hostname,
            "listen": handles.instance.listen,
            "admin": handles.instance.admin,
        },
        "version": env!("GBG_PROXY_VERSION"),
        "uptime_seconds": metrics.uptime().as_secs(),
        "configuration": {
            "reloads": reloads.applied,
            "refused": reloads.rejected,
            "problem": reloads.problem,
            "restart_keys": reloads.restart_keys,
        },
        "accounts": account::json(handles, &snapshot.accounts),
        "certificates": snapshot.certificates.iter().map(certificate_json).collect::<Vec<_>>(),
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
        "failures": failure::json(&snapshot.failures, &names),
    });
    format!("{status:#}\n")
}

fn snapshot(handles: &Handles, recent: OutcomeCounts) -> Snapshot {
    let metrics = &handles.metrics;
    Snapshot {
        draining: *handles.draining.borrow(),
        accounts: account::snapshots(handles),
        reloads: metrics.reloads(),
        certificates: metrics.certificates(),
        callers: metrics.expiries.callers(),
        failures: metrics.failures(),
        caller_names: metrics.callers(),
        recent,
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
        "cause": finding.cause,
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

fn certificate_json(certificate: &CertificateEnd) -> Value {
    let CertificateEnd { used, account, end } = certificate;
    let left = i128::from(*end) - i128::from(unix_seconds());
    let level = match Ending::of(*end, CERTIFICATE_NOTICE) {
        Some(Ending::Past) => Severity::Bad,
        Some(Ending::Soon) => Severity::Warn,
        None => Severity::Ok,
    };
    json!({
        "use": used.name(),
        "key": used.key(),
        "account": (!account.is_empty()).then_some(account),
        "level": level.name(),
        "expires_at": unix_time(*end),
        "expires_in_seconds": i64::try_from(left).unwrap_or(i64::MAX),
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
    fn a_certificate_without_end_is_shown() {
        let end = CertificateEnd {
            used: crate::metrics::CertificateUse::Listener,
            account: Box::default(),
            end: 253_402_300_800,
        };
        let shown = certificate_json(&end);
        assert_eq!(shown["expires_at"], "9999-12-31T23:59:59Z");
        assert_eq!(shown["key"], "listen.tls.cert");
    }

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
