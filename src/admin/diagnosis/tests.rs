//! Tests of the findings for each state of the proxy.

use super::super::outcomes::{GbgFailure, OutcomeCounts, outcome_counts};
use super::*;
use crate::config::unix_seconds;
use crate::metrics::{CertificateUse, FailureTime, ResponseSource};
use crate::token::FetchErrorKind;

fn account(has_token: bool, fetch_failure: Option<FetchErrorKind>) -> AccountSnapshot {
    let failure = |kind: FetchErrorKind| FetchFailure {
        kind,
        cause: format!("{kind:?} at localhost:1").into(),
        fix: kind.fix(),
    };
    AccountSnapshot {
        name: "default".into(),
        has_token,
        fetch_failure: fetch_failure.map(failure),
        upstream_failure: None,
    }
}

fn with(recent: OutcomeCounts) -> Snapshot {
    Snapshot {
        accounts: vec![account(true, None)],
        recent,
        ..Snapshot::default()
    }
}

fn kinds(snapshot: &Snapshot) -> Vec<&'static str> {
    diagnose(snapshot).iter().map(|found| found.kind).collect()
}

fn first(snapshot: &Snapshot) -> (&'static str, Severity, Option<Party>) {
    let finding = &diagnose(snapshot)[0];
    let row = format!("| `{}` |", finding.kind);
    assert!(
        include_str!("../../../docs/status.md").contains(&row),
        "docs/status.md has no {row}"
    );
    for text in [finding.title, finding.what, finding.fix] {
        assert!(!text.is_empty(), "{finding:?}");
    }
    (finding.kind, finding.level, finding.fault)
}

#[test]
fn the_proxy_is_healthy_with_and_without_requests() {
    assert_eq!(
        first(&with(outcome_counts(100, &[], &[]))),
        ("healthy", Severity::Ok, None)
    );
    assert_eq!(
        first(&with(outcome_counts(0, &[], &[]))),
        ("healthy", Severity::Ok, None)
    );
    let few = outcome_counts(100, &[("path_unknown", 2), ("upstream_timeout", 2)], &[]);
    assert_eq!(
        first(&with(few)).0,
        "healthy",
        "a few failures are not a finding"
    );
}

#[test]
fn the_last_fetch_explains_a_missing_token() {
    let without = |failure| Snapshot {
        accounts: vec![account(false, failure)],
        ..with(outcome_counts(9, &[("client_refused", 9)], &[]))
    };
    let bad = Severity::Bad;
    for (failure, expected) in [
        (None, ("token_pending", Severity::Warn, None)),
        (
            Some(FetchErrorKind::Refused),
            ("client_refused", bad, Some(Party::Proxy)),
        ),
        (
            Some(FetchErrorKind::Credentials),
            ("credentials_unusable", bad, Some(Party::Proxy)),
        ),
        (
            Some(FetchErrorKind::Unreachable),
            ("token_endpoint_unresponsive", bad, Some(Party::Upstream)),
        ),
        (
            Some(FetchErrorKind::Timeout),
            ("token_endpoint_unresponsive", bad, Some(Party::Upstream)),
        ),
        (
            Some(FetchErrorKind::Status),
            ("token_endpoint_errors", bad, Some(Party::Upstream)),
        ),
    ] {
        assert_eq!(first(&without(failure)), expected, "{failure:?}");
    }
}

#[test]
fn a_token_clears_failures_that_its_absence_caused() {
    let snapshot = with(outcome_counts(
        9,
        &[("client_refused", 5), ("token_unavailable", 4)],
        &[],
    ));
    assert_eq!(first(&snapshot).0, "healthy");
}

#[test]
fn a_failing_refresh_of_a_valid_token_warns() {
    for (failure, fault) in [
        (FetchErrorKind::Refused, Party::Proxy),
        (FetchErrorKind::Timeout, Party::Upstream),
    ] {
        let snapshot = Snapshot {
            accounts: vec![account(true, Some(failure))],
            ..with(outcome_counts(10, &[], &[]))
        };
        assert_eq!(
            first(&snapshot),
            ("token_refresh_failing", Severity::Warn, Some(fault))
        );
    }
}

#[test]
fn severity_depends_on_the_share_of_failures() {
    let silent = |count| with(outcome_counts(100, &[("upstream_unreachable", count)], &[]));
    assert_eq!(
        first(&silent(60)),
        (
            "upstream_unresponsive",
            Severity::Bad,
            Some(Party::Upstream)
        )
    );
    assert_eq!(
        first(&silent(6)),
        (
            "upstream_unresponsive",
            Severity::Warn,
            Some(Party::Upstream)
        )
    );
    assert_eq!(first(&silent(2)).0, "healthy");
    assert_eq!(
        [6, 60].map(|count| diagnose(&silent(count))[0].partial),
        [true, false]
    );
    let refused = |count| with(outcome_counts(100, &[("path_unknown", count)], &[]));
    assert_eq!(
        ["healthy", "client_errors"],
        [4, 5].map(|count| first(&refused(count)).0)
    );
}

#[test]
fn fewer_than_three_failures_are_no_verdict() {
    let failed = |count| with(outcome_counts(count, &[("upstream_timeout", count)], &[]));
    assert_eq!(first(&failed(3)).0, "upstream_unresponsive");
    for count in [1, 2] {
        let finding = &diagnose(&failed(count))[0];
        assert_eq!((finding.kind, finding.level), ("healthy", Severity::Ok));
        assert!(finding.title.contains("single requests failed"));
    }
    let many = with(outcome_counts(1000, &[("upstream_timeout", 2)], &[]));
    assert_eq!(diagnose(&many)[0].title, "All is well");
}

#[test]
fn each_class_of_failure_has_a_finding() {
    let gbg = |failure| with(outcome_counts(10, &[], &[(failure, 9)]));
    assert_eq!(
        first(&gbg(GbgFailure::ServerError)),
        ("upstream_errors", Severity::Bad, Some(Party::Upstream))
    );
    assert_eq!(
        first(&gbg(GbgFailure::Unauthorized)),
        (
            "upstream_rejecting_token",
            Severity::Bad,
            Some(Party::Proxy)
        )
    );
    assert_eq!(
        first(&gbg(GbgFailure::RateLimited)),
        (
            "upstream_rate_limiting",
            Severity::Warn,
            Some(Party::Caller)
        )
    );
    assert_eq!(
        first(&gbg(GbgFailure::ClientError)),
        ("client_errors", Severity::Warn, Some(Party::Caller))
    );
    let ours = |reason| with(outcome_counts(10, &[(reason, 9)], &[]));
    assert_eq!(
        first(&ours("overloaded")),
        ("overloaded", Severity::Bad, Some(Party::Proxy))
    );
    assert_eq!(
        first(&ours("no_connection_left")),
        ("no_connection_left", Severity::Bad, Some(Party::Proxy))
    );
    assert_eq!(
        first(&ours("rate_limited")),
        ("caller_rate_limited", Severity::Warn, Some(Party::Caller))
    );
    assert_eq!(
        first(&ours("caller_unknown")),
        ("client_errors", Severity::Warn, Some(Party::Caller))
    );
    assert!(
        diagnose(&ours("caller_unknown"))[0]
            .fix
            .contains("caller key")
    );
    let gone = with(OutcomeCounts {
        requests: 10,
        disconnected: 6,
        ..OutcomeCounts::default()
    });
    assert_eq!(first(&gone), ("clients_disconnected", Severity::Warn, None));
}

#[test]
fn each_account_has_its_own_token_finding() {
    let mut snapshot = with(outcome_counts(10, &[], &[]));
    snapshot.accounts.push(AccountSnapshot {
        name: "lending".into(),
        ..account(false, Some(FetchErrorKind::Refused))
    });
    assert_eq!(kinds(&snapshot), ["client_refused"]);
    snapshot.accounts[0] = account(true, Some(FetchErrorKind::Timeout));
    assert_eq!(
        kinds(&snapshot),
        ["client_refused", "token_refresh_failing"]
    );
    snapshot.accounts[0] = account(false, Some(FetchErrorKind::Refused));
    let findings = diagnose(&snapshot);
    let cause = "account default: Refused at localhost:1\naccount lending: Refused at localhost:1";
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].cause.as_deref(), Some(cause));
}

#[test]
fn findings_are_sorted_by_severity_after_the_drain() {
    let recent = outcome_counts(100, &[("path_unknown", 30), ("upstream_broken", 55)], &[]);
    let mut snapshot = Snapshot {
        accounts: vec![account(true, Some(FetchErrorKind::Timeout))],
        ..with(recent)
    };
    snapshot.reloads.problem = Some("proxy.toml:1:1: broken".to_owned());
    assert_eq!(
        kinds(&snapshot),
        [
            "upstream_unresponsive",
            "token_refresh_failing",
            "client_errors",
            "config_rejected"
        ]
    );
    snapshot.draining = true;
    assert_eq!(first(&snapshot).0, "draining");
}

#[test]
fn the_last_upstream_failure_is_the_cause() {
    let failure = |reason| {
        let cause = "no connection to the API could be opened: localhost:1: connection refused";
        let now = (std::time::SystemTime::now(), std::time::Instant::now());
        let (ended_at, ended) = now;
        UpstreamFailure {
            ended_at,
            ended,
            reason,
            cause: cause.into(),
        }
    };
    let mut snapshot = with(outcome_counts(9, &[("upstream_unreachable", 9)], &[]));
    snapshot.accounts[0].upstream_failure = Some(failure("upstream_unreachable"));
    let cause = diagnose(&snapshot)[0].cause.clone().unwrap();
    assert!(
        cause.ends_with("localhost:1: connection refused"),
        "{cause}"
    );
    snapshot.accounts[0].upstream_failure = Some(failure("upstream_refused"));
    assert_eq!(diagnose(&snapshot)[0].cause, None, "another failure");
}

#[test]
fn configuration_findings_hold_the_error_or_keys() {
    let mut snapshot = with(OutcomeCounts::default());
    let found = |snapshot: &Snapshot| {
        let (kind, level, fault) = first(snapshot);
        assert_eq!((level, fault), (Severity::Warn, Some(Party::Proxy)));
        (kind, diagnose(snapshot)[0].cause.clone().unwrap())
    };
    snapshot.reloads.problem = Some("proxy.toml:2:1: listen.adress: unknown".to_owned());
    let problem = "proxy.toml:2:1: listen.adress: unknown".to_owned();
    assert_eq!(found(&snapshot), ("config_rejected", problem));
    snapshot.reloads.restart_keys = vec!["log.file".to_owned(), "listen.workers".to_owned()];
    let keys = "changed: log.file, listen.workers".to_owned();
    assert_eq!(found(&snapshot), ("restart_needed", keys.clone()));
    snapshot.reloads.problem = None;
    assert_eq!(found(&snapshot), ("restart_needed", keys));
}

#[test]
fn near_and_past_ends_are_reported() {
    const DAY: u64 = 86_400;
    let now = unix_seconds();
    let certificate = |end| {
        let mut snapshot = with(OutcomeCounts::default());
        let (used, account) = (CertificateUse::Listener, Box::default());
        snapshot.certificates = vec![CertificateEnd { used, account, end }];
        snapshot
    };
    assert_eq!(first(&certificate(now + 31 * DAY)).0, "healthy");
    let soon = certificate(now + 29 * DAY);
    assert_eq!(
        first(&soon),
        ("certificate_expires", Severity::Warn, Some(Party::Proxy))
    );
    let cause = diagnose(&soon)[0].cause.clone().unwrap();
    assert!(
        cause.starts_with("listen.tls.cert expires at 20"),
        "{cause}"
    );
    let past = certificate(now - DAY);
    assert_eq!(
        first(&past),
        ("certificate_expired", Severity::Bad, Some(Party::Proxy))
    );

    let caller = |end| Snapshot {
        callers: vec![("crm".to_owned(), end), ("web".to_owned(), now + 900 * DAY)],
        ..with(OutcomeCounts::default())
    };
    assert_eq!(first(&caller(now + 15 * DAY)).0, "healthy");
    assert_eq!(first(&caller(now + 13 * DAY)).0, "caller_expires");
    assert_eq!(first(&caller(now - 1)).0, "caller_expired");
    let cause = diagnose(&caller(now - 1))[0].cause.clone().unwrap();
    assert!(cause.starts_with("caller \"crm\" ended at 20"), "{cause}");
}

#[test]
fn the_last_error_response_is_the_cause() {
    let now = FailureTime {
        wall: std::time::SystemTime::now(),
        monotonic: std::time::Instant::now(),
    };
    let failure = |status, source, gbg_id: Option<&str>| FailureGroup {
        count: 9,
        first: now,
        last: now,
        id: "1".into(),
        gbg_id: gbg_id.map(Box::from),
        caller: 0,
        account: None,
        endpoint: "journey/start",
        status,
        source,
        reason: None,
        is_token_rejection: false,
    };
    let snapshot = Snapshot {
        failures: vec![
            failure(503, ResponseSource::Proxy, None),
            failure(404, ResponseSource::Gbg, Some("other")),
            failure(502, ResponseSource::Gbg, Some("b2e1")),
            failure(500, ResponseSource::Gbg, None),
        ],
        ..with(outcome_counts(10, &[], &[(GbgFailure::ServerError, 9)]))
    };
    let cause = diagnose(&snapshot)[0].cause.clone();
    let expected = "status 502 to journey/start, X-Request-ID b2e1";
    assert_eq!(cause.as_deref(), Some(expected));
}
