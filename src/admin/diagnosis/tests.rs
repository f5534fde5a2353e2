//! Tests of the findings for each state of the proxy.

use super::super::outcomes::outcome_counts;
use super::*;

fn token(is_valid: bool, fetch_failure: Option<FetchErrorKind>) -> Vec<TokenSnapshot> {
    vec![TokenSnapshot {
        is_valid,
        fetch_failure,
    }]
}

fn with(recent: OutcomeCounts) -> Snapshot {
    Snapshot {
        draining: false,
        tokens: token(true, None),
        config_rejected: false,
        recent,
    }
}

fn first(snapshot: &Snapshot) -> (&'static str, Severity, Option<Party>) {
    let finding = diagnose(snapshot)[0];
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
        tokens: token(false, failure),
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
            tokens: token(true, Some(failure)),
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
    let one = outcome_counts(1, &[("upstream_timeout", 1)], &[]);
    assert_eq!(first(&with(one)).1, Severity::Bad, "the only one");
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
    snapshot
        .tokens
        .extend(token(false, Some(FetchErrorKind::Refused)));
    let kinds: Vec<_> = diagnose(&snapshot).iter().map(|found| found.kind).collect();
    assert_eq!(kinds, ["client_refused"]);
    snapshot.tokens[0].fetch_failure = Some(FetchErrorKind::Timeout);
    let kinds: Vec<_> = diagnose(&snapshot).iter().map(|found| found.kind).collect();
    assert_eq!(kinds, ["client_refused", "token_refresh_failing"]);
}

#[test]
fn findings_are_sorted_by_severity_after_the_drain() {
    let recent = outcome_counts(100, &[("path_unknown", 30), ("upstream_broken", 55)], &[]);
    let mut snapshot = Snapshot {
        tokens: token(true, Some(FetchErrorKind::Timeout)),
        ..with(recent)
    };
    snapshot.config_rejected = true;
    let kinds = |snapshot: &Snapshot| {
        diagnose(snapshot)
            .iter()
            .map(|finding| finding.kind)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        kinds(&snapshot),
        [
            "upstream_unresponsive",
            "token_refresh_failing",
            "client_errors",
            "config_rejected"
        ]
    );
    snapshot.config_rejected = false;
    snapshot.draining = true;
    assert_eq!(first(&snapshot).0, "draining");
}
