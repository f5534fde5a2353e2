//! Tests of the labels.

use std::time::Duration;

use super::*;
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
        duration: Duration::ZERO,
        upstream: None,
        bytes: [1, 2],
        repeats: 1,
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
