//! What is told of which facts.

use super::super::outcomes::made_up;
use super::*;

fn with(recent: Tally) -> Snapshot {
    Snapshot {
        draining: false,
        held: true,
        failure: None,
        refused_config: false,
        recent,
    }
}

fn first(facts: &Snapshot) -> (&'static str, Level, Option<Party>) {
    let verdict = verdicts(facts)[0];
    let row = format!("| `{}` |", verdict.kind);
    assert!(
        include_str!("../../../docs/status.md").contains(&row),
        "docs/status.md has no {row}"
    );
    for text in [verdict.title, verdict.what, verdict.fix] {
        assert!(!text.is_empty(), "{verdict:?}");
    }
    (verdict.kind, verdict.level, verdict.fault)
}

#[test]
fn what_is_well_is_called_well_with_requests_and_without() {
    assert_eq!(
        first(&with(made_up(100, &[], &[]))),
        ("healthy", Level::Ok, None)
    );
    assert_eq!(
        first(&with(made_up(0, &[], &[]))),
        ("healthy", Level::Ok, None)
    );
    let few = made_up(100, &[("path_unknown", 2), ("upstream_timeout", 2)], &[]);
    assert_eq!(
        first(&with(few)).0,
        "healthy",
        "a few failures are no verdict"
    );
}

#[test]
fn without_a_token_it_is_told_why_there_is_none() {
    let without = |failure| Snapshot {
        held: false,
        failure,
        ..with(made_up(9, &[("client_refused", 9)], &[]))
    };
    let bad = Level::Bad;
    for (failure, told) in [
        (None, ("token_pending", Level::Warn, None)),
        (Some("refused"), ("client_refused", bad, Some(Party::Proxy))),
        (
            Some("credentials"),
            ("credentials_unusable", bad, Some(Party::Proxy)),
        ),
        (
            Some("unreachable"),
            ("token_endpoint_unresponsive", bad, Some(Party::Upstream)),
        ),
        (
            Some("timeout"),
            ("token_endpoint_unresponsive", bad, Some(Party::Upstream)),
        ),
        (
            Some("status"),
            ("token_endpoint_errors", bad, Some(Party::Upstream)),
        ),
    ] {
        assert_eq!(first(&without(failure)), told, "{failure:?}");
    }
}

#[test]
fn failures_for_want_of_a_token_are_forgotten_with_the_first_token() {
    let facts = with(made_up(
        9,
        &[("client_refused", 5), ("token_unavailable", 4)],
        &[],
    ));
    assert_eq!(first(&facts).0, "healthy");
}

#[test]
fn a_token_that_serves_while_the_next_one_does_not_come_is_a_warning() {
    for (failure, fault) in [("refused", Party::Proxy), ("timeout", Party::Upstream)] {
        let facts = Snapshot {
            failure: Some(failure),
            ..with(made_up(10, &[], &[]))
        };
        assert_eq!(
            first(&facts),
            ("token_refresh_failing", Level::Warn, Some(fault))
        );
    }
}

#[test]
fn most_failures_are_the_matter_and_many_are_a_warning() {
    let silent = |count| with(made_up(100, &[("upstream_unreachable", count)], &[]));
    assert_eq!(
        first(&silent(60)),
        ("upstream_unresponsive", Level::Bad, Some(Party::Upstream))
    );
    assert_eq!(
        first(&silent(6)),
        ("upstream_unresponsive", Level::Warn, Some(Party::Upstream))
    );
    assert_eq!(first(&silent(2)).0, "healthy");
    assert_eq!(
        [6, 60].map(|count| verdicts(&silent(count))[0].partial),
        [true, false]
    );
    let refused = |count| with(made_up(100, &[("path_unknown", count)], &[]));
    assert_eq!(
        ["healthy", "client_errors"],
        [4, 5].map(|count| first(&refused(count)).0)
    );
    let one = made_up(1, &[("upstream_timeout", 1)], &[]);
    assert_eq!(first(&with(one)).1, Level::Bad, "the only one");
}

#[test]
fn each_kind_of_failure_has_its_verdict() {
    let gbg = |failure| with(made_up(10, &[], &[(failure, 9)]));
    assert_eq!(
        first(&gbg(GbgFailure::Broken)),
        ("upstream_errors", Level::Bad, Some(Party::Upstream))
    );
    assert_eq!(
        first(&gbg(GbgFailure::Unauthorized)),
        ("upstream_rejecting_token", Level::Bad, Some(Party::Proxy))
    );
    assert_eq!(
        first(&gbg(GbgFailure::Limited)),
        ("upstream_rate_limiting", Level::Warn, Some(Party::Caller))
    );
    assert_eq!(
        first(&gbg(GbgFailure::Refused)),
        ("client_errors", Level::Warn, Some(Party::Caller))
    );
    let ours = |reason| with(made_up(10, &[(reason, 9)], &[]));
    assert_eq!(
        first(&ours("overloaded")),
        ("overloaded", Level::Bad, Some(Party::Proxy))
    );
    assert_eq!(
        first(&ours("no_connection_left")),
        ("no_connection_left", Level::Bad, Some(Party::Proxy))
    );
    assert_eq!(
        first(&ours("rate_limited")),
        ("caller_rate_limited", Level::Warn, Some(Party::Caller))
    );
    assert_eq!(
        first(&ours("caller_unknown")),
        ("client_errors", Level::Warn, Some(Party::Caller))
    );
    assert!(
        verdicts(&ours("caller_unknown"))[0]
            .fix
            .contains("caller key")
    );
    let gone = with(Tally {
        requests: 10,
        gone: 6,
        ..Tally::default()
    });
    assert_eq!(first(&gone), ("clients_disconnected", Level::Warn, None));
}

#[test]
fn the_worst_comes_first_and_the_end_before_all() {
    let recent = made_up(100, &[("path_unknown", 30), ("upstream_broken", 55)], &[]);
    let mut facts = Snapshot {
        failure: Some("timeout"),
        ..with(recent)
    };
    facts.refused_config = true;
    let kinds = |facts: &Snapshot| {
        verdicts(facts)
            .iter()
            .map(|verdict| verdict.kind)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        kinds(&facts),
        [
            "upstream_unresponsive",
            "token_refresh_failing",
            "client_errors",
            "config_rejected"
        ]
    );
    facts.refused_config = false;
    facts.draining = true;
    assert_eq!(first(&facts).0, "draining");
}
