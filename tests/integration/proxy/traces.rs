//! The trace that a request belongs to, and collectors that are down, silent or named too late.

use http::Request;
use http_body_util::Full;
use tokio::task::spawn_blocking;
use wiremock::{MockServer, ResponseTemplate};

use crate::support::caller::{assert_ok, post, send};
use crate::support::process::Running;
use crate::support::{TestProxy, answer, api, forwarded, token_endpoint};

pub(crate) const START: &str = "/v2/captain/journey/start";
pub(crate) const CAME: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const NO_TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01";

pub(crate) fn traced(traceparent: &str) -> Request<Full<bytes::Bytes>> {
    let mut req = post(START);
    req.headers_mut()
        .insert("traceparent", traceparent.parse().unwrap());
    req.headers_mut()
        .insert("tracestate", "vendor=1".parse().unwrap());
    req
}

/// `traceparent` and `tracestate` of the last request that the API has seen.
pub(crate) async fn seen(api: &MockServer) -> [Option<String>; 2] {
    let last = forwarded(api).await.pop().unwrap();
    ["traceparent", "tracestate"].map(|name| {
        last.headers
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned())
    })
}

#[tokio::test]
async fn traces_are_forwarded_and_started_if_configured() {
    let api = api().await;
    answer(&api, ResponseTemplate::new(200)).await;
    let came = [Some(CAME.to_owned()), Some("vendor=1".to_owned())];

    let proxy = TestProxy::before(&api).start().await;
    send(proxy.addr(), post(START)).await;
    assert_eq!(seen(&api).await, [None, None]);
    send(proxy.addr(), traced(CAME)).await;
    assert_eq!(seen(&api).await, came);
    // Without a collector a trace is forwarded unchanged.
    send(proxy.addr(), traced(NO_TRACE)).await;
    assert_eq!(seen(&api).await[0].as_deref(), Some(NO_TRACE));

    let endpoint = format!("token.endpoint={}", token_endpoint(&api));
    let base_url = format!("upstream.base_url={}", api.uri());
    let start = move || Running::start(&["trace.start=true", &endpoint, &base_url]);
    let mut running = spawn_blocking(start).await.unwrap();
    send(running.addr(), traced(CAME)).await;
    assert_eq!(seen(&api).await, came);
    running.read_until("trace_id=4bf92f3577b34da6a3ce929d0e0e4736");
    let mut begun = Vec::new();
    for req in [post(START), traced(NO_TRACE)] {
        send(running.addr(), req).await;
        let [traceparent, tracestate] = seen(&api).await;
        let traceparent = traceparent.unwrap();
        assert!(
            traceparent.starts_with("00-") && traceparent.ends_with("-00"),
            "{traceparent}"
        );
        assert_eq!((traceparent.len(), tracestate), (55, None));
        running.read_until(&format!("trace_id={}", &traceparent[3..35]));
        begun.push(traceparent);
    }
    assert_ne!(begun[0][3..35], begun[1][3..35]);
    assert_eq!(running.end("-TERM"), 0);
}

#[cfg(feature = "otlp")]
mod otlp {
    use std::time::Duration;

    use http::StatusCode;

    use super::*;
    use crate::ops::reload::{replace, running};
    use crate::support::caller::until;
    use crate::support::configured_callers::config_file;
    use crate::support::server;

    #[tokio::test]
    async fn a_silent_collector_delays_shutdown_only_briefly() {
        let api = api().await;
        answer(&api, ResponseTemplate::new(200)).await;
        let silent = server::scripted(async |_stream| std::future::pending().await).await;
        let endpoint = format!("trace.endpoint=http://{silent}/v1/traces");
        let proxy = TestProxy::before(&api).set(&[&endpoint]).start().await;
        assert_ok(proxy.addr(), START).await;
        let ended = tokio::time::timeout(Duration::from_secs(4), proxy.shut_down()).await;
        ended.expect("it is waited for");
    }

    /// Traces go to the collector of the start: a new `trace.endpoint` needs a restart, while
    /// `trace.start` applies to the next request.
    #[tokio::test]
    async fn a_new_collector_needs_a_restart() {
        let api = api().await;
        answer(&api, ResponseTemplate::new(200)).await;
        let config = config_file(&[]);
        let mut running = running(config.path(), &api, &[]).await;
        for (text, logged, is_begun) in [
            (
                "endpoint = \"http://127.0.0.1:1/v1/traces\"",
                "need a restart keys=\"trace.endpoint\"",
                false,
            ),
            ("start = true", "changed=\"trace.start\"", true),
        ] {
            replace(config.path(), &format!("[trace]\n{text}\n"));
            running.signal("-HUP");
            running.read_until(logged);
            assert_ok(running.addr(), START).await;
            assert_eq!(seen(&api).await[0].is_some(), is_begun);
        }
        assert_eq!(running.end("-TERM"), 0);
    }

    #[tokio::test]
    async fn a_dead_collector_is_logged_and_delays_nothing() {
        let api = api().await;
        answer(&api, ResponseTemplate::new(200)).await;
        let endpoint = format!("token.endpoint={}", token_endpoint(&api));
        let base_url = format!("upstream.base_url={}", api.uri());
        let start = move || {
            Running::start(&[
                "trace.endpoint=http://127.0.0.1:1/v1/traces?key=hunter2",
                &endpoint,
                &base_url,
            ])
        };
        let mut running = spawn_blocking(start).await.unwrap();
        let addr = running.addr();
        until(async || send(addr, post(START)).await.status() == StatusCode::OK).await;
        let (code, running) = spawn_blocking(move || (running.end("-TERM"), running))
            .await
            .unwrap();
        assert_eq!(code, 0);
        assert!(
            running
                .log
                .contains("spans cannot be exported to trace.endpoint"),
            "{}",
            running.log
        );
        assert!(!running.log.contains("hunter2"), "{}", running.log);
    }
}
