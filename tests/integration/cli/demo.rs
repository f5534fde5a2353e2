//! `gbg-proxy demo`: the journeys, and what a user sees while it runs.

use http::Request;
use http_body_util::Full;

use crate::support::caller::{json, send, until};
use crate::support::process::{Running, command, text};

#[test]
fn the_demo_completes_both_versions() {
    let output = command(&["demo", "--once"]).output().unwrap();
    let (out, err) = text(&output);
    assert_eq!(output.status.code(), Some(0), "{out}{err}");
    let calls: Vec<_> = out
        .lines()
        .filter(|line| line.starts_with("  POST "))
        .collect();
    assert!(
        calls
            .iter()
            .any(|call| call.contains("/v2/captain/journey/state/fetch")),
        "{out}"
    );
    assert!(
        calls
            .iter()
            .any(|call| call.contains("/captain/api/journey/task/update")),
        "{out}"
    );
    let as_it_must_be = |call: &&str| call.ends_with("no Authorization   Bearer … (token 1)");
    assert!(calls.iter().all(as_it_must_be), "{out}");
    assert!(out.lines().all(|line| line.chars().count() <= 100), "{out}");
}

#[tokio::test]
async fn a_running_demo_serves_its_status_page() {
    let demo = Running::demo();
    let shown: Vec<_> = demo.log.lines().collect();
    let address = |name: &str| {
        let line = shown.iter().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("{}", demo.log))
    };
    let page = address("status page  http://");
    let addr = page.trim_end_matches('/').parse().unwrap();

    // One request for each line of the two journeys; the last may not be counted yet.
    let calls = shown.iter().filter(|line| line.starts_with("  POST "));
    let calls = calls.count();
    until(async || {
        let request = Request::get("/status").header("host", "localhost");
        let status = send(addr, request.body(Full::default()).unwrap()).await;
        json(&status)["requests"]["total"] == calls
    })
    .await;
    assert_eq!(
        address("open "),
        format!("http://{page} to see the state of the proxy")
    );
}
