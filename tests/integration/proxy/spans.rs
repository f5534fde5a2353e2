//! Spans as a collector receives them: the request, the wait for a token, each attempt.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::{Span, status};
use prost::Message;
use wiremock::matchers::path;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::proxy::traces::{CAME, START, seen, traced};
use crate::support::caller::{post, read_until, send, try_send, until};
use crate::support::{Proxy, TOKEN, TestProxy, answer, api, granting, server};

/// A collector, and the bodies that it received.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<bytes::Bytes>>>);

impl Collector {
    /// Where it is, as the configuration says it.
    async fn start(&self) -> String {
        let collector = self.clone();
        let addr = server::http(move |req: Request<hyper::body::Incoming>| {
            let collector = collector.clone();
            async move {
                assert_eq!(req.uri().path(), "/v1/traces");
                let body = req.into_body().collect().await.unwrap().to_bytes();
                collector.0.lock().unwrap().push(body);
                Response::new(Full::<bytes::Bytes>::default())
            }
        })
        .await;
        format!("trace.endpoint=http://{addr}/v1/traces")
    }

    fn spans(&self) -> Vec<Span> {
        let bodies = self.0.lock().unwrap();
        let batches = bodies
            .iter()
            .map(|body| ExportTraceServiceRequest::decode(body.clone()).unwrap());
        let resources = batches.flat_map(|batch| batch.resource_spans);
        resources
            .flat_map(|resource| resource.scope_spans)
            .flat_map(|scope| scope.spans)
            .collect()
    }
}

/// A proxy in front of the API at `upstream`, and the collector of its spans.
async fn traced_proxy(upstream: SocketAddr) -> (Collector, Proxy) {
    let collector = Collector::default();
    let endpoint = collector.start().await;
    let proxy = TestProxy::before_server(&format!("http://{upstream}"))
        .set(&[&endpoint])
        .start()
        .await;
    (collector, proxy)
}

fn attribute(span: &Span, name: &str) -> Option<String> {
    let found = span
        .attributes
        .iter()
        .find(|attribute| attribute.key == name)?;
    Some(match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        other => panic!("{name} is {other:?}"),
    })
}

fn failed(span: &Span) -> bool {
    span.status
        .as_ref()
        .is_some_and(|status| status.code() == status::StatusCode::Error)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn spans_cover_request_token_wait_and_attempts() {
    let api = MockServer::start().await;
    let slow = granting(TOKEN, 3600).set_delay(Duration::from_millis(300));
    Mock::given(path("/as/token.oauth2"))
        .respond_with(slow)
        .mount(&api)
        .await;
    // A fetch may be sent again when its connection breaks; a 401 of a young token is not.
    Mock::given(path("/v2/captain/journey/state/fetch"))
        .respond_with(ResponseTemplate::new(404).insert_header("x-request-id", "of-gbg"))
        .mount(&api)
        .await;
    let collector = Collector::default();
    let endpoint = collector.start().await;
    let proxy = TestProxy::before(&api).set(&[&endpoint]).start().await;
    let mut req = traced(CAME);
    *req.uri_mut() = "/v2/captain/journey/state/fetch?name=Erika"
        .parse()
        .unwrap();
    req.headers_mut()
        .insert("x-secret", "Mustermann".parse().unwrap());
    let res = send(proxy.addr(), req).await;
    assert_eq!(res.status(), StatusCode::NOT_FOUND);
    let id = res.headers()["x-proxy-request-id"]
        .to_str()
        .unwrap()
        .to_owned();
    let [traceparent, tracestate] = seen(&api).await;
    assert_eq!(tracestate.as_deref(), Some("vendor=1"));
    // The shutdown exports the spans that are left.
    proxy.shut_down().await;

    let spans = collector.spans();
    let of = |kind: SpanKind| {
        let mut found = spans.iter().filter(|span| span.kind == i32::from(kind));
        let only = found.next().unwrap();
        assert!(found.next().is_none(), "{spans:?}");
        only
    };
    let (request, wait, attempt) = (
        of(SpanKind::Server),
        of(SpanKind::Internal),
        of(SpanKind::Client),
    );
    assert_eq!(spans.len(), 3);
    assert!(spans.iter().all(|span| hex(&span.trace_id) == CAME[3..35]));
    assert_eq!(hex(&request.parent_span_id), CAME[36..52]);
    assert_eq!(
        (&wait.parent_span_id, &attempt.parent_span_id),
        (&request.span_id, &request.span_id)
    );
    assert_eq!(
        traceparent.unwrap(),
        format!("{}{}-01", &CAME[..36], hex(&attempt.span_id))
    );
    assert_eq!(request.name, attempt.name);
    assert_eq!(wait.name, "wait for a token");
    // A 404 fails the span of the client, not that of the server.
    assert_eq!(
        (failed(request), attribute(request, "error.type")),
        (false, None)
    );
    assert_eq!(
        (failed(attempt), attribute(attempt, "error.type")),
        (true, Some("404".to_owned()))
    );
    assert_eq!(
        attribute(attempt, "server.address").as_deref(),
        Some("127.0.0.1")
    );
    assert_eq!(
        attribute(attempt, "server.port"),
        Some(api.address().port().to_string())
    );
    assert_eq!(attribute(request, "gbg_proxy.request_id"), Some(id));
    assert_eq!(
        attribute(request, "gbg_proxy.account").as_deref(),
        Some("default")
    );
    assert_eq!(
        attribute(request, "gbg_proxy.source").as_deref(),
        Some("gbg")
    );
    assert_eq!(
        attribute(attempt, "http.response.status_code").as_deref(),
        Some("404")
    );
    let [whole, waited, sent] =
        [request, wait, attempt].map(|span| (span.start_time_unix_nano, span.end_time_unix_nano));
    assert!(whole.0 <= waited.0 && waited.1 <= sent.0 && sent.1 <= whole.1 + 1_000_000);
    assert!(waited.1 - waited.0 > 50_000_000, "{}", waited.1 - waited.0);
    let exported = collector.0.lock().unwrap().concat();
    for secret in ["Erika", "Mustermann", TOKEN, "vendor"] {
        assert!(
            !exported
                .windows(secret.len())
                .any(|part| part == secret.as_bytes()),
            "{secret}"
        );
    }
}

#[tokio::test]
async fn a_retried_request_has_two_attempt_spans() {
    let closed = Arc::new(Mutex::new(false));
    let broken = server::scripted(move |mut stream| {
        let closed = Arc::clone(&closed);
        async move {
            let _ = read_until(&mut stream, "\r\n\r\n").await;
            if std::mem::replace(&mut *closed.lock().unwrap(), true) {
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                stream.try_write(answer).unwrap();
            }
        }
    })
    .await;
    let (collector, proxy) = traced_proxy(broken).await;
    let get = |traceparent: &str| {
        let req = Request::get("/v2/captain/journey/state").header("host", "localhost");
        req.header("traceparent", traceparent)
            .body(Full::default())
            .unwrap()
    };
    assert_eq!(send(proxy.addr(), get(CAME)).await.status(), StatusCode::OK);
    let unrecorded = CAME.replace("-01", "-00");
    assert_eq!(
        send(proxy.addr(), get(&unrecorded)).await.status(),
        StatusCode::OK
    );
    proxy.shut_down().await;
    let spans = collector.spans();
    let attempts: Vec<_> = spans
        .iter()
        .filter(|span| span.kind == i32::from(SpanKind::Client))
        .collect();
    let resent: Vec<_> = attempts
        .iter()
        .map(|span| attribute(span, "http.request.resend_count"))
        .collect();
    assert_eq!(resent, [None, Some("1".to_owned())], "{spans:?}");
    let statuses = attempts
        .iter()
        .map(|span| attribute(span, "http.response.status_code"));
    assert_eq!(statuses.collect::<Vec<_>>(), [None, Some("200".to_owned())]);
    let problems = attempts.iter().map(|span| attribute(span, "error.type"));
    assert_eq!(
        problems.collect::<Vec<_>>(),
        [Some("upstream_broken".to_owned()), None]
    );
    let requests = spans
        .iter()
        .filter(|span| span.kind == i32::from(SpanKind::Server));
    assert_eq!(requests.count(), 1, "{spans:?}");
}

#[tokio::test]
async fn new_traces_are_sampled_at_the_ratio() {
    let api = api().await;
    answer(&api, ResponseTemplate::new(200)).await;
    for (sample, flags, spans) in [("0", "-00", 0), ("1", "-01", 2)] {
        let collector = Collector::default();
        let set = [collector.start().await, format!("trace.sample={sample}")];
        let proxy = TestProxy::before(&api)
            .set(&set.each_ref().map(String::as_str))
            .start()
            .await;
        until(async || send(proxy.admin(), ready()).await.status() == StatusCode::OK).await;
        send(proxy.addr(), post(START)).await;
        assert!(seen(&api).await[0].as_ref().unwrap().ends_with(flags));
        proxy.shut_down().await;
        assert_eq!(collector.spans().len(), spans);
    }
}

fn ready() -> Request<Full<bytes::Bytes>> {
    Request::get("/readyz")
        .header("host", "localhost")
        .body(Full::default())
        .unwrap()
}

/// The span of the request lasts as long as its answer does.
#[tokio::test]
async fn truncated_responses_fail_and_unknown_methods_are_hidden() {
    let broken = server::scripted(async |mut stream| {
        let _ = read_until(&mut stream, "\r\n\r\n").await;
        stream
            .try_write(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc")
            .unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
    })
    .await;
    let (collector, proxy) = traced_proxy(broken).await;
    let mut req = traced(CAME);
    *req.method_mut() = "ERIKA".parse().unwrap();
    assert!(try_send(proxy.addr(), req).await.is_err());
    proxy.shut_down().await;
    let spans = collector.spans();
    let of = |kind: SpanKind| {
        spans
            .iter()
            .find(|span| span.kind == i32::from(kind))
            .unwrap()
    };
    let (request, attempt) = (of(SpanKind::Server), of(SpanKind::Client));
    assert_eq!(
        (failed(request), failed(attempt)),
        (true, false),
        "{spans:?}"
    );
    assert_eq!(
        attribute(request, "error.type").as_deref(),
        Some("upstream_broken")
    );
    assert_eq!(request.name, "HTTP journey/start");
    assert_eq!(
        attribute(request, "http.request.method").as_deref(),
        Some("_OTHER")
    );
    let took = |span: &Span| span.end_time_unix_nano - span.start_time_unix_nano;
    assert!(took(request) > took(attempt) + 200_000_000, "{spans:?}");
    assert!(
        !collector
            .0
            .lock()
            .unwrap()
            .concat()
            .windows(5)
            .any(|part| part == b"ERIKA")
    );
}
