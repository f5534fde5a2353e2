//! Shares and causes of findings about requests and connections.

use std::time::{Instant, SystemTime};

use super::*;
use crate::admin::outcomes::outcome_counts;
use crate::metrics::{ConnectionRefusal, FailureTime};

fn of(recent: OutcomeCounts) -> Vec<Finding> {
    findings(&Snapshot {
        recent,
        ..Snapshot::default()
    })
}

/// 3,000 requests without a key next to 13 that GBG does not answer.
#[test]
fn rejected_callers_never_hide_an_outage() {
    let reasons = [("path_unknown", 3000), ("upstream_unreachable", 13)];
    let found = of(outcome_counts(3013, &reasons, &[]));
    let kinds: Vec<_> = found.iter().map(|one| (one.kind, one.level)).collect();
    assert_eq!(
        kinds,
        [
            ("upstream_unresponsive", Severity::Bad),
            ("client_errors", Severity::Warn)
        ]
    );
    assert!(!found[0].partial, "every request that was admitted failed");
}

#[test]
fn refused_connections_are_a_finding_of_callers() {
    let with = |reason: ConnectionRefusal, count| {
        let mut recent = outcome_counts(10, &[], &[]);
        recent.refused_connections[reason as usize] = count;
        of(recent)
    };
    let found = with(ConnectionRefusal::HttpOnTlsPort, 4);
    assert_eq!(
        (found[0].kind, found[0].fault),
        ("connections_refused", Some(Party::Caller))
    );
    assert_eq!(found[0].cause.as_deref(), Some("http_on_tls_port: 4"));
    assert!(with(ConnectionRefusal::HttpOnTlsPort, 2).is_empty());
    // A load balancer that probes the port.
    assert!(with(ConnectionRefusal::NoRequest, 50).is_empty());
}

#[test]
fn findings_about_callers_name_them() {
    let time = FailureTime {
        wall: SystemTime::now(),
        monotonic: Instant::now(),
    };
    let group = |reason, status| FailureGroup {
        count: 7,
        first: time,
        last: time,
        id: "1".into(),
        gbg_id: None,
        caller: 1,
        account: None,
        endpoint: "journey/start",
        status,
        source: ResponseSource::Proxy,
        reason: Some(reason),
        is_token_rejection: false,
    };
    let snapshot = Snapshot {
        recent: outcome_counts(20, &[("rate_limited", 7), ("path_not_allowed", 7)], &[]),
        failures: vec![group("rate_limited", 429), group("path_not_allowed", 403)],
        caller_names: vec![String::new(), "loans".to_owned()],
        ..Snapshot::default()
    };
    let causes: Vec<_> = findings(&snapshot)
        .into_iter()
        .map(|found| found.cause.unwrap())
        .collect();
    assert_eq!(
        causes,
        [
            "loans: 7",
            "403 path_not_allowed: 7 by loans on journey/start"
        ]
    );
}
