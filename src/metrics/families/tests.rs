//! Tests of the labels.

use std::time::Duration;

use super::*;
use crate::metrics::expiry::CertificateUse;
use crate::metrics::outcome::{Outcome, ResponseSource};

#[test]
fn each_account_has_its_own_counters() {
    let metrics = Arc::new(Metrics::new(2));
    let outcome = Outcome {
        id: "1",
        caller: 0,
        account: Some("retail"),
        endpoint: "other",
        status: 200,
        source: ResponseSource::Gbg,
        reason: None,
        is_token_rejection: false,
        duration: Duration::ZERO,
        upstream: None,
        bytes: [1, 2],
        repeats: 1,
        gbg_id: None,
    };
    for worker in metrics.workers() {
        let retail = worker.account("retail");
        retail.requests.record(&outcome);
        retail.record_circuit_opening();
        worker.account("lending").record_reuse();
        worker.without_account.record(&outcome);
    }
    metrics.record_reload(None);
    metrics.record_reload(Some("invalid".to_owned()));
    metrics.token("retail").record_rejection();
    metrics.token("lending").record_unauthorized();
    let text = metrics.open_metrics(true);
    for line in [
        "requests_total{account=\"retail\",caller=\"\",endpoint=\"other\",status=\"200\",source=\"gbg\"} 2",
        "requests_total{account=\"\",caller=\"\",endpoint=\"other\",status=\"200\",source=\"gbg\"} 2",
        "body_bytes_total{account=\"retail\",direction=\"sent\"} 4",
        "body_bytes_total{account=\"lending\",direction=\"sent\"} 0",
        "repeats_total{account=\"retail\"} 2",
        "connections{side=\"downstream\"} 0.0",
        "connections{side=\"upstream\",account=\"retail\"} 0.0",
        "connections_reused_total{account=\"lending\"} 2",
        "circuit_openings_total{account=\"retail\"} 2",
        "circuit_openings_total{account=\"lending\"} 0",
        "config_reloads_total{outcome=\"accepted\"} 1",
        "config_reloads_total{outcome=\"rejected\"} 1",
        "config_in_force 0.0",
        "token_rejections_total{account=\"retail\"} 1",
        "upstream_unauthorized_total{account=\"retail\"} 0",
        "upstream_unauthorized_total{account=\"lending\"} 1",
        "token_fetch_duration_seconds_count{account=\"lending\"} 0",
    ] {
        assert!(
            text.contains(&format!("gbg_proxy_{line}\n")),
            "{line}\n{text}"
        );
    }
    assert!(!text.contains("repeats_total{account=\"\"}"), "{text}");
    assert_eq!(metrics.requests().total, 4);
}

#[test]
fn upstream_durations_are_those_of_responses() {
    let metrics = Arc::new(Metrics::new(1));
    let requests = &metrics.workers()[0].account("default").requests;
    let failed = Outcome {
        id: "1",
        caller: 0,
        account: Some("default"),
        endpoint: "other",
        status: 504,
        source: ResponseSource::Proxy,
        reason: Some("upstream_timeout"),
        is_token_rejection: false,
        duration: Duration::from_secs(66),
        upstream: Some(Duration::from_secs(65)),
        bytes: [0; 2],
        repeats: 0,
        gbg_id: None,
    };
    requests.record(&failed);
    assert_eq!(metrics.requests().upstream.count(), 0);
    requests.record(&Outcome {
        status: 200,
        source: ResponseSource::Gbg,
        reason: None,
        ..failed
    });
    let text = metrics.open_metrics(true);
    for bucket in [("60.0", 0), ("90.0", 1)] {
        let (bound, count) = bucket;
        let line = format!(
            "gbg_proxy_upstream_duration_seconds_bucket{{le=\"{bound}\",account=\"default\",endpoint=\"other\"}} {count}\n"
        );
        assert!(text.contains(&line), "{line}\n{text}");
    }
}

#[test]
fn the_time_until_each_end_is_shown() {
    let metrics = Arc::new(Metrics::new(1));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let expiries = &metrics.expiries;
    expiries.set_certificate(CertificateUse::Listener, "", Some(now.as_secs() + 100));
    expiries.set_certificate(
        CertificateUse::Upstream,
        "retail",
        Some(now.as_secs() - 100),
    );
    expiries.set_callers(vec![
        ("crm".to_owned(), now.as_secs() + 50),
        ("web".to_owned(), now.as_secs() + 70),
    ]);
    let token = metrics.token("retail");
    token.set_certificate_end(Some(now.as_secs() + 200));
    let value = |series: &str, with_names: bool| {
        let text = metrics.open_metrics(with_names);
        let mut lines = text.lines();
        let value = lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map(|value| value.parse::<f64>().unwrap().round())
    };
    let near = |series: &str, with_names, expected: f64| {
        let value = value(series, with_names).unwrap();
        assert!(
            (expected - 2.0..=expected).contains(&value),
            "{series} {value}"
        );
    };
    let certificate = |used: &str, account: &str| {
        format!("gbg_proxy_certificate_expires_seconds{{use=\"{used}\",account=\"{account}\"}}")
    };
    near(&certificate("listener", ""), true, 100.0);
    near(&certificate("upstream_client", "retail"), true, -100.0);
    near(&certificate("token_client", "retail"), true, 200.0);
    let caller = |name: &str| format!("gbg_proxy_caller_expires_seconds{{caller=\"{name}\"}}");
    near(&caller("crm"), true, 50.0);
    near(&caller("web"), true, 70.0);
    near(&caller("(hidden)"), false, 50.0);
    assert_eq!(value(&caller("crm"), false), None);
    expiries.set_certificate(CertificateUse::Listener, "", None);
    expiries.set_callers(Vec::new());
    assert_eq!(value(&certificate("listener", ""), true), None);
    assert_eq!(value(&caller("crm"), true), None);
}
