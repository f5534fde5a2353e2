//! Sandbox tests over HTTP: its responses, its certificate, and its end.

use bytes::Bytes;
use http::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::service::REQUEST_ID;
use super::*;

mod api_faults;
mod control;
mod devices;
mod endpoints;
mod interactions;
mod journeys;
mod raw;
mod scenarios;
mod token_faults;

const V2_START: &str = "/v2/captain/journey/start";

/// One connection to a sandbox.
struct Caller(SendRequest<Full<Bytes>>, JoinHandle<hyper::Result<()>>);

impl Caller {
    async fn over(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let (sender, connection) = http1::handshake(TokioIo::new(io)).await.unwrap();
        Caller(sender, tokio::spawn(connection))
    }

    async fn to(sandbox: &Sandbox) -> Self {
        let addr = sandbox.base_url().replace("http://", "");
        Caller::over(TcpStream::connect(addr).await.unwrap()).await
    }

    async fn send(
        &mut self,
        method: Method,
        path: &str,
        token: &str,
        body: impl Into<Bytes>,
    ) -> Response<Bytes> {
        let form = if path == token_endpoint::PATH {
            "application/x-www-form-urlencoded"
        } else {
            "application/json"
        };
        let fields = [(CONTENT_TYPE.as_str(), form)];
        self.send_with(method, path, token, &fields, body).await
    }

    async fn send_with(
        &mut self,
        method: Method,
        path: &str,
        token: &str,
        fields: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Response<Bytes> {
        let mut req = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "localhost");
        for (name, value) in fields {
            req = req.header(*name, *value);
        }
        if !token.is_empty() {
            req = req.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        self.0.ready().await.unwrap();
        let res = self
            .0
            .send_request(req.body(Full::new(body.into())).unwrap())
            .await
            .unwrap();
        assert_eq!(res.headers()[REQUEST_ID].len(), 36, "{path}");
        let (head, body) = res.into_parts();
        Response::from_parts(head, body.collect().await.unwrap().to_bytes())
    }

    /// Posts `body`, and returns status and JSON.
    async fn post(&mut self, path: &str, token: &str, body: Value) -> (u16, Value) {
        let res = self.send(Method::POST, path, token, body.to_string()).await;
        (
            res.status().as_u16(),
            serde_json::from_slice(res.body()).unwrap(),
        )
    }

    async fn token(&mut self) -> String {
        let form = "grant_type=client_credentials&scope=gbg.token&client_id=sandbox-client&client_secret=sandbox-secret";
        let res = self
            .send(Method::POST, token_endpoint::PATH, "", form)
            .await;
        assert_eq!(res.headers()["cache-control"], "no-cache, no-store");
        let body: Value = serde_json::from_slice(res.body()).unwrap();
        assert_eq!(body["expires_in"], 3600);
        body["access_token"].as_str().unwrap().to_owned()
    }
}

/// Starts a journey, and returns its id.
async fn start_journey(caller: &mut Caller, token: &str) -> String {
    let start = json!({"resourceId": "abc@1", "context": {"config": {"delivery": "api"}}});
    let (status, started) = caller.post(V2_START, token, start).await;
    assert_eq!(status, 201, "{started}");
    text(&started["instanceId"])
}

/// Connects a device to a journey of v2, and returns the response.
async fn connect_device(caller: &mut Caller, token: &str, instance: &str) -> Value {
    let start = json!({"instanceId": instance, "scope": ["*"]});
    let (status, pair) = caller
        .post("/v2/captain/journey/device/start", token, start)
        .await;
    assert_eq!(status, 201, "{pair}");
    let connect_token = text(&pair["connectToken"]);
    connect_with(caller, &connect_token).await
}

async fn connect_with(caller: &mut Caller, connect_token: &str) -> Value {
    let body =
        json!({"connectToken": connect_token, "deviceInfo": {"deviceId": "a-device-of-16-ch"}});
    let (status, connected) = caller
        .post("/v2/captain/journey/device/connect", connect_token, body)
        .await;
    assert_eq!(status, 201, "{connected}");
    connected
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

async fn plain() -> Sandbox {
    Sandbox::start(SandboxOptions {
        tls: false,
        ..SandboxOptions::default()
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn errors_have_the_format_of_their_version() {
    let sandbox = plain().await;
    let mut caller = Caller::to(&sandbox).await;
    let token = caller.token().await;

    let (status, body) = caller
        .post(V2_START, &token, json!({"resourceId": "abc"}))
        .await;
    assert_eq!((status, &body["errors"][0]["code"]), (400, &json!("4002")));
    let (status, body) = caller.post(V2_START, "nobody's", json!({})).await;
    assert_eq!(
        (status, &body["errors"][0]["location"]),
        (401, &json!("Authorization"))
    );
    assert_eq!(
        caller
            .post("/v2/captain/nowhere", &token, json!({}))
            .await
            .0,
        401
    );
    let (status, body) = caller.post("/captain/api/nowhere", &token, json!({})).await;
    assert_eq!((status, &body["error"]), (404, &json!("not-found-error")));
    assert_eq!(
        caller
            .post("/captain/api/journey/start", "", json!({}))
            .await
            .0,
        401
    );
    assert_eq!(
        caller.post("/designer/api/x", &token, json!({})).await.0,
        404
    );

    assert_eq!(
        caller
            .send(Method::POST, V2_START, &token, "{")
            .await
            .status(),
        400
    );
    let res = caller.send(Method::GET, V2_START, &token, "").await;
    assert_eq!(
        (res.status().as_u16(), &res.headers()[ALLOW]),
        (405, &HeaderValue::from_static("POST"))
    );
    for path in [
        "/v2/captain/journey/health",
        "/captain/api/journey/health",
        "/v2/captain/version",
    ] {
        assert_eq!(
            caller.send(Method::GET, path, "", "").await.status(),
            200,
            "{path}"
        );
    }
    assert_eq!(
        caller
            .send(Method::GET, token_endpoint::PATH, "", "")
            .await
            .status(),
        405
    );
}

#[tokio::test]
async fn only_bodies_within_the_limit_pass() {
    let sandbox = plain().await;
    let mut caller = Caller::to(&sandbox).await;
    let token = caller.token().await;

    let res = caller
        .send(Method::GET, "/v2/captain/sandbox/bytes/3000000", &token, "")
        .await;
    assert_eq!(res.body().len(), 3_000_000);
    let res = caller
        .send(Method::POST, "/v2/captain/sandbox/sink", &token, "abc")
        .await;
    let sunk: Value = serde_json::from_slice(res.body()).unwrap();
    let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(sunk, json!({"bytes": 3, "sha256": sha256}));

    let too_large = vec![b'x'; (48 << 20) + 1];
    assert_eq!(
        caller
            .send(Method::POST, V2_START, &token, too_large)
            .await
            .status(),
        413
    );
    // The connection is still usable.
    assert_eq!(
        caller
            .send(Method::GET, "/v2/captain/version", "", "")
            .await
            .status(),
        200
    );
    assert_eq!(sandbox.recorded_calls()[2].body_bytes, (48 << 20) + 1);
}

#[tokio::test]
async fn its_certificate_is_a_trusted_root() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let sandbox = Sandbox::start(SandboxOptions::default()).await.unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(sandbox.ca().unwrap()).unwrap();
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    let port = sandbox
        .base_url()
        .rsplit_once(':')
        .unwrap()
        .1
        .parse::<u16>()
        .unwrap();
    for name in ["localhost", "127.0.0.1", "::1"] {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let stream = connector
            .connect(ServerName::try_from(name).unwrap(), stream)
            .await
            .unwrap();
        let mut caller = Caller::over(stream).await;
        assert!(!caller.token().await.is_empty());
    }
    assert_eq!(sandbox.tokens_issued(), 3);
}

#[tokio::test]
async fn a_dropped_sandbox_ends_its_connections() {
    let sandbox = plain().await;
    let mut caller = Caller::to(&sandbox).await;
    caller.token().await;
    drop(sandbox);
    caller.1.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_stopped_sandbox_frees_its_port() {
    let sandbox = plain().await;
    let address = sandbox.addr();
    let mut caller = Caller::to(&sandbox).await;
    let token = caller.token().await;
    assert_eq!(sandbox.issued_tokens(), [token]);
    sandbox.stop().await;
    caller.1.await.unwrap().unwrap();
    assert!(TcpStream::connect(address).await.is_err());

    let again = Sandbox::start(SandboxOptions {
        address,
        tls: false,
        ..SandboxOptions::default()
    })
    .await
    .unwrap();
    assert_eq!(again.addr(), address);
    Caller::to(&again).await.token().await;
}
