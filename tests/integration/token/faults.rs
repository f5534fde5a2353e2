//! The token endpoint and the API go wrong on purpose, and callers see as little of it as can be.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use gbg_proxy::sandbox::{Authorization, Sandbox};
use http::{Request, StatusCode};
use http_body_util::Full;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use crate::support::caller::{Whole, json, post, send, until};
use crate::support::process::Running;
use crate::support::{CLIENT_SECRET, RSA_KEY, TestProxy, parse_faults, sandbox};

const SINK: &str = "/v2/captain/sandbox/sink";

/// A token that is younger is not replaced because the API refuses it.
const YOUNG: Duration = Duration::from_secs(10);

fn upload(number: usize) -> Request<Full<Bytes>> {
    let body = format!("upload {number} {}", "x".repeat(20_000));
    Request::post(SINK)
        .header("host", "localhost")
        .body(Full::from(body))
        .unwrap()
}

/// Counts the calls that came with a token which is not, or no longer, one of the sandbox's.
fn count_unknown(sandbox: &Sandbox) -> Arc<AtomicU64> {
    let mut calls = sandbox.subscribe();
    let unknown = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&unknown);
    tokio::spawn(async move {
        loop {
            match calls.recv().await {
                Ok(seen) if seen.authorization == Authorization::Unknown => {
                    counted.fetch_add(1, Ordering::Relaxed);
                }
                Ok(_) => {}
                // What was missed may have been one.
                Err(RecvError::Lagged(missed)) => {
                    counted.fetch_add(missed, Ordering::Relaxed);
                }
                Err(RecvError::Closed) => return,
            }
        }
    });
    unknown
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_second_tokens_are_replaced_without_errors() {
    let sandbox = sandbox(&["token-lifetime=2s"]).await;
    let unknown = count_unknown(&sandbox);
    let proxy = TestProxy::before_sandbox(&sandbox).start().await;
    let (addr, end) = (proxy.addr(), Instant::now() + Duration::from_secs(20));
    let caller = move || async move {
        let mut sent = 0;
        while Instant::now() < end {
            let res = send(addr, upload(0)).await;
            assert_eq!(res.status(), StatusCode::OK, "{res:?}");
            sent += 1;
            sleep(Duration::from_millis(50)).await;
        }
        sent
    };
    let callers: Vec<_> = (0..64).map(|_| tokio::spawn(caller())).collect();
    let mut sent = 0;
    for caller in callers {
        sent += caller.await.unwrap();
    }
    assert_eq!(
        sandbox.api_calls(),
        sent,
        "a request was lost, or sent twice"
    );
    assert_eq!(
        unknown.load(Ordering::Relaxed),
        0,
        "an expired token was sent"
    );
    let calls = sandbox.token_calls();
    assert!((10..=24).contains(&calls), "{calls} token calls");
}

#[tokio::test]
async fn a_cold_start_makes_one_token_call() {
    let sandbox = sandbox(&["token-delay=1s"]).await;
    let proxy = TestProxy::before_sandbox(&sandbox).start().await;
    let responses = join_all((0..100).map(|number| send(proxy.addr(), upload(number)))).await;
    assert!(responses.iter().all(|res| res.status() == StatusCode::OK));
    assert_eq!((sandbox.token_calls(), sandbox.api_calls()), (1, 100));
}

/// What the sink says that it received of `upload(number)`.
async fn received(addr: SocketAddr, number: usize) -> (StatusCode, serde_json::Value) {
    let res = send(addr, upload(number)).await;
    (res.status(), json(&res))
}

#[tokio::test]
async fn requests_rejected_after_revocation_are_retried_once() {
    let sandbox = sandbox(&[]).await;
    let proxy = TestProxy::before_sandbox(&sandbox).start().await;
    let before = join_all((0..50).map(|number| received(proxy.addr(), number))).await;
    sleep(YOUNG + Duration::from_millis(500)).await;
    // So that all are on their way before one is answered.
    sandbox.set_faults(parse_faults(&["api-delay=500ms", "token-delay=500ms"]));
    sandbox.revoke_all();
    let seen = sandbox.recorded_calls().len();
    let after = join_all((0..50).map(|number| received(proxy.addr(), number))).await;
    assert!(
        after.iter().all(|(status, _)| *status == StatusCode::OK),
        "{after:?}"
    );
    assert_eq!(before, after, "a body was not sent again as it was");
    assert_eq!(sandbox.token_calls(), 2);
    let seen = &sandbox.recorded_calls()[seen..];
    let with = |wanted: Authorization| {
        seen.iter()
            .filter(|call| call.authorization == wanted)
            .count()
    };
    let newest = Authorization::Bearer {
        generation: 2,
        current: true,
    };
    assert_eq!(
        (with(Authorization::Unknown), with(newest), seen.len()),
        (50, 50, 100)
    );
}

#[tokio::test]
async fn persistent_401s_cause_two_token_fetches_at_most() {
    let sandbox = sandbox(&[]).await;
    let proxy = TestProxy::before_sandbox(&sandbox).start().await;
    assert_eq!(send(proxy.addr(), upload(0)).await.status(), StatusCode::OK);
    sleep(YOUNG + Duration::from_millis(500)).await;
    sandbox.set_faults(parse_faults(&["api-status=401"]));
    let began = Instant::now();
    for batch in 0..10 {
        let responses =
            join_all((0..50).map(|_| send(proxy.addr(), post("/v2/captain/journey/start")))).await;
        for res in responses {
            assert_eq!(res.status(), StatusCode::UNAUTHORIZED);
            assert!(!res.headers().contains_key("proxy-status"), "{res:?}");
            assert_eq!(json(&res)["errors"][0]["name"], "SANDBOX_FAULT");
        }
        let due = began + Duration::from_millis(900) * (batch + 1);
        tokio::time::sleep_until(due).await;
    }
    assert!(
        sandbox.token_calls() <= 1 + 2,
        "{} token calls",
        sandbox.token_calls()
    );
    // Those in flight as the token was replaced were sent twice, and no other.
    assert!(
        sandbox.api_calls() <= 1 + 500 + 50,
        "{} calls",
        sandbox.api_calls()
    );
}

#[tokio::test]
async fn recovery_from_a_long_outage_needs_no_restart() {
    let sandbox = sandbox(&["token-lifetime=2s"]).await;
    let proxy = TestProxy::before_sandbox(&sandbox)
        .set(&["token.wait_timeout=100ms"])
        .start()
        .await;
    until(async || send(proxy.addr(), upload(0)).await.status() == StatusCode::OK).await;
    sandbox.set_faults(parse_faults(&["token-reset"]));
    sleep(Duration::from_secs(6)).await;
    let calls = sandbox.api_calls();
    let res = send(proxy.addr(), upload(0)).await;
    assert_eq!(
        (res.status(), &json(&res)["reason"]),
        (StatusCode::SERVICE_UNAVAILABLE, &"token_unavailable".into())
    );
    let wait: u64 = res.headers()["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=15).contains(&wait), "{wait}");
    assert_eq!(sandbox.api_calls(), calls, "sent without a token");
    sandbox.clear_faults();
    until(async || send(proxy.addr(), upload(0)).await.status() == StatusCode::OK).await;
}

/// Every way to go wrong, the log as talkative as it gets, and a caller that sends secrets of its
/// own.
#[tokio::test]
async fn no_fault_exposes_secret_or_token() {
    let faults = [
        &[][..],
        &[],
        &["token-delay=100ms", "token-lifetime=1s"],
        &["token-hang"],
        &["token-reset"],
        &["token-status=500", "token-retry-after=1"],
        &["token-status=429"],
        &["token-body=empty"],
        &["token-body=html"],
        &["token-body=no-token"],
        &["token-body=crlf", "token-lifetime=1s"],
        &["token-body=truncated"],
        &["token-body=endless"],
        &["token-body=drip"],
        &["token-type=mac"],
        &["token-bad"],
        &["token-expires-in=-1"],
        &["token-same", "token-lifetime=1s"],
        &["refuse-client"],
        &["api-status=401", "token-lifetime=1s"],
        &["api-reset"],
        &["api-truncated"],
        &["api-hang"],
    ];
    let directory = tempfile::tempdir().unwrap();
    let password = &directory.path().join("password");
    std::fs::write(password, "sandbox-password").unwrap();
    let key = std::fs::read_to_string(RSA_KEY).unwrap();
    let runs = faults
        .iter()
        .enumerate()
        .map(|(number, faults)| async move {
            let sandbox = sandbox(faults).await;
            let mut set = vec![
                format!("upstream.base_url={}", sandbox.base_url()),
                format!("token.endpoint={}", sandbox.token_endpoint()),
                format!("log.format={}", ["text", "json"][number / 2 % 2]),
                "log.level=trace".to_owned(),
                "admin.address=127.0.0.1:0".to_owned(),
                "token.wait_timeout=300ms".to_owned(),
                "token.timeout=1s".to_owned(),
                "upstream.response_timeout=1s".to_owned(),
            ];
            match number {
                0 => set.extend([
                    "token.client_auth=private_key_jwt".to_owned(),
                    format!("token.jwt_key=file:{RSA_KEY}"),
                ]),
                _ => set.push(format!(
                    "token.client_auth={}",
                    ["post", "basic"][number % 2]
                )),
            }
            if number % 3 == 1 {
                let user = "token.username=sandbox-user";
                let password = format!("token.password=file:{}", password.display());
                set.extend(["token.grant=password".to_owned(), user.to_owned(), password]);
            }
            let start = move || {
                let set: Vec<_> = set.iter().map(String::as_str).collect();
                Running::start_with_errors(&set)
            };
            let mut proxy = spawn_blocking(start).await.unwrap();
            let mut heard = String::new();
            for path in [
                SINK,
                "/captain/api/journey/start",
                "/v2/captain/journey/device/connect",
                "/elsewhere",
            ] {
                for _ in 0..3 {
                    let req = Request::post(format!("{path}?token=query-secret"))
                        .header("host", "localhost");
                    let req = req
                        .header("authorization", "Bearer callers-secret")
                        .header("x-api-key", "callers-secret");
                    let req = req
                        .header("cookie", "a=callers-secret")
                        .body(Full::from("body-secret"))
                        .unwrap();
                    heard += &describe(crate::support::caller::try_send(proxy.addr(), req).await);
                    sleep(Duration::from_millis(300)).await;
                }
            }
            for path in ["/metrics", "/status", "/readyz"] {
                let req = Request::get(path)
                    .header("host", "localhost")
                    .body(Full::default())
                    .unwrap();
                heard += &describe(crate::support::caller::try_send(proxy.admin(), req).await);
            }
            spawn_blocking(move || (proxy.end("-TERM"), heard + &proxy.log))
                .await
                .map(|ended| (faults, sandbox, ended))
                .unwrap()
        });
    for (faults, sandbox, (code, heard)) in join_all(runs).await {
        assert_eq!(code, 0, "{faults:?}: {heard}");
        assert!(
            heard.contains("gbg-proxy is listening") && heard.contains("DEBUG"),
            "{heard}"
        );
        let encoded = "dGVzdC1jbGllbnQ6dGVzdC1zZWNyZXQtN2MxZg";
        // The last is how every assertion begins.
        let ours = [
            CLIENT_SECRET,
            encoded,
            "sandbox-password",
            key.lines().nth(1).unwrap(),
            "eyJ",
        ];
        let mut secrets = ours.map(str::to_owned).to_vec();
        secrets.extend(["callers-secret", "query-secret", "body-secret"].map(str::to_owned));
        secrets.extend(sandbox.issued_tokens());
        for secret in secrets {
            assert!(!heard.contains(&secret), "{faults:?}: {secret} in {heard}");
        }
    }
}

fn describe(answered: Result<Whole, String>) -> String {
    match answered {
        Ok(res) => {
            format!(
                "{:?} {:?} {}\n",
                res.status(),
                res.headers(),
                String::from_utf8_lossy(res.body())
            )
        }
        Err(error) => error,
    }
}
