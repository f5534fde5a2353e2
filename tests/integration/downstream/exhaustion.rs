//! Memory and files that one caller can use, with or without a key.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use h2::SendStream;
use h2::client::{ResponseFuture, SendRequest};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::support::caller::{
    PATIENCE, connect_from, json, post, raw, read_until, send, send_dripping, until,
};
use crate::support::configured_callers::KeyedCaller;
use crate::support::process::Running;
use crate::support::server::{scripted, silent};
use crate::support::{TestProxy, api, forwarded, token_endpoint};

pub(crate) const LOGIN: &str = "/as/token.oauth2";
pub(crate) const START: &str = "/v2/captain/journey/start";
/// It changes nothing, and is sent again when its connection breaks.
const FETCH: &str = "/v2/captain/journey/state/fetch";

const UPSTREAM_CONNECTIONS: &str = "gbg_proxy_connections{side=\"upstream\",account=\"default\"}";

/// Login forms that are read at once (`proxy::login`).
const MAX_FORMS: usize = 256;

/// The value of the series `name`, with its labels; `None` while it has not been counted.
async fn series(admin: SocketAddr, name: &str) -> Option<f64> {
    let req = Request::get("/metrics")
        .header("host", "localhost")
        .body(Full::default())
        .unwrap();
    let res = send(admin, req).await;
    let text = String::from_utf8_lossy(res.body()).into_owned();
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    Some(value.parse().unwrap())
}

pub(crate) async fn metric(admin: SocketAddr, name: &str) -> f64 {
    series(admin, name)
        .await
        .unwrap_or_else(|| panic!("no {name}"))
}

/// A connection of an HTTP/2 caller; it ends when this and its streams are dropped.
async fn connect_http2(addr: SocketAddr) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(addr).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    sender
}

type Begun = (ResponseFuture, SendStream<Bytes>);

/// Begins requests to `path`, each with one byte of its body.
async fn begin(sender: SendRequest<Bytes>, path: &str, count: usize) -> Vec<Begun> {
    let mut sender = sender.ready().await.unwrap();
    let mut begun = Vec::new();
    for _ in 0..count {
        let req = Request::post(format!("http://localhost{path}"))
            .body(())
            .unwrap();
        let (answering, mut body) = sender.send_request(req, false).unwrap();
        body.send_data(Bytes::from_static(b"g"), false).unwrap();
        begun.push((answering, body));
        sender = sender.ready().await.unwrap();
    }
    begun
}

async fn reason(answering: ResponseFuture) -> (StatusCode, String) {
    let res: Response<h2::RecvStream> = timeout(PATIENCE, answering)
        .await
        .expect("no answer")
        .unwrap();
    let status = res
        .headers()
        .get("proxy-status")
        .map(|value| value.to_str().unwrap().to_owned());
    (res.status(), status.unwrap_or_default())
}

#[tokio::test]
async fn the_oldest_login_form_makes_room() {
    let api = api().await;
    let crm = KeyedCaller::new("crm", "");
    let proxy = TestProxy::before(&api)
        .callers(&[crm.table()])
        .set(&["listen.workers=1"])
        .start()
        .await;
    let (mut begun, mut connections) = (Vec::new(), Vec::new());
    for connection in 1..=3 {
        let sender = connect_http2(proxy.addr()).await;
        begun.extend(begin(sender.clone(), LOGIN, 100).await);
        connections.push(sender);
        let expected = (connection * 100).min(MAX_FORMS) as f64;
        until(async || metric(proxy.admin(), "gbg_proxy_login_forms").await == expected).await;
    }
    let rest = begun.split_off(3 * 100 - MAX_FORMS);
    for (answering, _body) in begun {
        let (status, reason) = reason(answering).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(reason.contains("too_many_logins"), "{reason}");
    }
    let form = format!("grant_type=client_credentials&client_secret={}", crm.key);
    let req = Request::post(LOGIN)
        .header("host", "localhost")
        .body(Full::from(form))
        .unwrap();
    let res = send(proxy.addr(), req).await;
    assert_eq!(
        (res.status(), &json(&res)["access_token"]),
        (StatusCode::OK, &(*crm.key).into())
    );

    drop((rest, connections));
    until(async || metric(proxy.admin(), "gbg_proxy_login_forms").await == 0.0).await;
    assert_eq!(metric(proxy.admin(), "gbg_proxy_in_flight").await, 0.0);
    assert!(forwarded(&api).await.is_empty());
}

#[tokio::test]
async fn a_dripping_login_form_times_out() {
    let proxy = TestProxy::before(&api().await)
        .set(&["listen.header_timeout=300ms"])
        .start()
        .await;
    let sender = connect_http2(proxy.addr()).await;
    let (answering, mut body) = begin(sender, LOGIN, 1).await.pop().unwrap();
    let drip = tokio::spawn(async move {
        while body.send_data(Bytes::from_static(b"g"), false).is_ok() {
            sleep(Duration::from_millis(20)).await;
        }
    });
    let (status, reason) = reason(answering).await;
    drip.abort();
    assert_eq!(status, StatusCode::REQUEST_TIMEOUT);
    assert!(reason.contains("caller_too_slow"), "{reason}");

    let head = format!("POST {LOGIN} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    let answer = send_dripping(proxy.addr(), head, b"1\r\ng\r\n").await;
    assert!(
        answer.starts_with("HTTP/1.1 408 ") && answer.contains("caller_too_slow"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_body_of_single_bytes_is_resent_whole() {
    let has_broken = Arc::new(AtomicBool::new(false));
    let breaks_once = scripted(move |mut stream: TcpStream| {
        let has_broken = Arc::clone(&has_broken);
        async move {
            if !has_broken.swap(true, Relaxed) {
                read_until(&mut stream, "0\r\n\r\n").await;
                return;
            }
            let echo = service_fn(async |req: Request<Incoming>| {
                Ok::<_, Infallible>(Response::new(Full::new(
                    req.into_body().collect().await.unwrap().to_bytes(),
                )))
            });
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), echo)
                .await;
        }
    });
    let proxy = TestProxy::before_server(&format!("http://{}", breaks_once.await))
        .start()
        .await;
    let body: String = (0..5000_u32)
        .map(|at| char::from(b'a' + (at % 26) as u8))
        .collect();
    let chunks: String = body
        .chars()
        .map(|byte| format!("1\r\n{byte}\r\n"))
        .collect();
    let request = format!(
        "POST {FETCH} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n"
    );
    let res = raw(proxy.addr(), request).await;
    assert!(
        res.starts_with("HTTP/1.1 200 ") && res.ends_with(&body),
        "{res}"
    );
}

/// With 256 files, of which both ends of 300 requests would take more.
#[tokio::test]
async fn one_http2_caller_leaves_files_for_probes() {
    let tokens = api().await;
    let busy = silent().await;
    let set = [
        format!("upstream.base_url=http://{busy}"),
        format!("token.endpoint={}", token_endpoint(&tokens)),
        "upstream.connect_timeout=2s".to_owned(),
        "admin.address=127.0.0.1:0".to_owned(),
        "listen.workers=1".to_owned(),
    ];
    let set: Vec<_> = set.iter().map(String::as_str).collect();
    let mut running = Running::start_with_open_files(256, &set);
    let (addr, admin) = (running.addr(), running.admin());
    let probe = async |path: &str| {
        let req = Request::get(path)
            .header("host", "localhost")
            .body(Full::default())
            .unwrap();
        send(admin, req).await.status()
    };
    until(async || probe("/readyz").await == StatusCode::OK).await;

    let (mut begun, mut connections) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let sender = connect_http2(addr).await;
        begun.extend(begin(sender.clone(), START, 100).await);
        connections.push(sender);
    }
    // The limit of 256 leaves 256 - 32 - 32 - 8 = 184 files, half of them to callers.
    until(async || metric(admin, UPSTREAM_CONNECTIONS).await >= 91.0).await;
    assert!(
        running.open_files() < 256 - 64,
        "{} files are open",
        running.open_files()
    );
    // All connections that callers may have, and more idle ones of the admin listener than there
    // are files for.
    for _ in 3..92 {
        connections.push(connect_http2(addr).await);
    }
    until(async || metric(admin, "gbg_proxy_connections{side=\"downstream\"}").await >= 92.0).await;
    let mut idle = Vec::new();
    for host in 1..=64 {
        let mut stream = connect_from(host, admin).await;
        stream
            .write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .await
            .unwrap();
        read_until(&mut stream, "ok\n").await;
        idle.push(stream);
    }
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(probe(path).await, StatusCode::OK, "{path}");
    }
    // Those that found no connection; the others are in flight.
    let refused = "gbg_proxy_refusals_total{account=\"default\",reason=\"no_connection_left\"}";
    until(async || series(admin, refused).await.unwrap_or(0.0) >= 200.0).await;
    assert!(metric(admin, UPSTREAM_CONNECTIONS).await <= 92.0);
    assert_eq!(probe("/livez").await, StatusCode::OK);

    drop((begun, connections, idle));
    until(async || metric(admin, "gbg_proxy_in_flight").await == 0.0).await;
    assert_eq!(running.end("-TERM"), 0);
    assert!(
        running
            .log
            .contains("reached the limit of connections to the API"),
        "{}",
        running.log
    );
    assert!(
        !running.log.contains("Too many open files"),
        "{}",
        running.log
    );
}

/// Lines that wait for a slow reader of the log are counted, not measured.
#[tokio::test]
async fn a_long_path_is_cut_in_the_log() {
    let mut running = Running::start(&[]);
    let path = format!("/{}", "x".repeat(8000));
    assert_eq!(
        send(running.addr(), post(&path)).await.status(),
        StatusCode::NOT_FOUND
    );
    assert_eq!(running.end("-TERM"), 0);
    let line = running
        .log
        .lines()
        .find(|line| line.contains("path=\"/xxx"))
        .unwrap();
    assert_eq!(line.matches('x').count() / 100, 10, "{line}");
}
