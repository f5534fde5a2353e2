//! Requests while connections to the API cannot be opened, or not enough of them, and when they can
//! again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use gbg_proxy::sandbox::{Sandbox, SandboxOptions};
use http::{Request, StatusCode};
use http_body_util::Full;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::sleep;

use crate::support::caller::{PATIENCE, Whole, json, post, read_until, send, until};
use crate::support::process::Running;
use crate::support::server::{scripted, tls};
use crate::support::{CLIENT_ID, CLIENT_SECRET, Proxy, TestProxy, api};

const START: &str = "/v2/captain/journey/start";

/// After so long the next request is let through.
const PAUSE: Duration = Duration::from_millis(110);

fn is_unreachable(res: &Whole) -> bool {
    res.headers().contains_key("proxy-status") && json(res)["reason"] == "upstream_unreachable"
}

/// The way to an API that speaks TLS. While it is not up, connections are taken and not answered.
struct Way {
    sandbox: Sandbox,
    addr: SocketAddr,
    up: Arc<AtomicBool>,
    taken: Arc<AtomicUsize>,
    directory: TempDir,
}

impl Way {
    async fn new() -> Way {
        let (client_id, client_secret) = (CLIENT_ID.to_owned(), CLIENT_SECRET.to_owned());
        let _ = rustls::crypto::ring::default_provider().install_default();
        let options = SandboxOptions {
            client_id,
            client_secret,
            ..SandboxOptions::default()
        };
        let sandbox = Sandbox::start(options).await.unwrap();
        let (up, taken) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicUsize::new(0)),
        );
        let (is_up, count, api) = (Arc::clone(&up), Arc::clone(&taken), sandbox.addr());
        let addr = scripted(move |mut stream| {
            count.fetch_add(1, SeqCst);
            let is_up = is_up.load(SeqCst);
            async move {
                if !is_up {
                    sleep(Duration::from_secs(60)).await;
                }
                let mut api = TcpStream::connect(api).await.unwrap();
                let _ = copy_bidirectional(&mut stream, &mut api).await;
            }
        })
        .await;
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ca.pem"), sandbox.ca_pem().unwrap()).unwrap();
        Way {
            sandbox,
            addr,
            up,
            taken,
            directory,
        }
    }

    async fn proxy(&self, set: &[&str]) -> Proxy {
        let ca_file = format!(
            "upstream.ca_file={}",
            self.directory.path().join("ca.pem").display()
        );
        let always = [
            ca_file.as_str(),
            "listen.workers=1",
            "upstream.connect_timeout=1s",
        ];
        let api = format!("https://localhost:{}", self.addr.port());
        TestProxy::new(&api, &self.sandbox.token_endpoint())
            .set(&[&always[..], set].concat())
            .start()
            .await
    }

    fn taken(&self) -> usize {
        self.taken.load(SeqCst)
    }
}

/// Lets attempts fail, one after the other, until the proxy counts that it has given up: requests
/// over HTTP/2 share attempts, and may fail a moment before one is over.
async fn fail_until_open(proxy: &Proxy) {
    until(async || {
        assert!(is_unreachable(&send(proxy.addr(), post(START)).await));
        let metrics = Request::get("/metrics")
            .header("host", "a")
            .body(Full::default())
            .unwrap();
        let metrics = send(proxy.admin(), metrics).await;
        String::from_utf8_lossy(metrics.body())
            .contains("gbg_proxy_circuit_openings_total{account=\"default\"} 1\n")
    })
    .await;
}

async fn fails_at_once_and_recovers(version: &str) {
    let way = Way::new().await;
    let proxy = way.proxy(&[version]).await;
    let addr = proxy.addr();
    fail_until_open(&proxy).await;

    let (before, began) = (way.taken(), Instant::now());
    assert!(before >= 5);
    let sent: Vec<_> = (0..50)
        .map(|_| tokio::spawn(send(addr, post(START))))
        .collect();
    for sent in sent {
        assert!(is_unreachable(&sent.await.unwrap()));
    }
    // One attempt every 100 ms, and not one a request.
    let most = 1 + began.elapsed().as_millis() / 100;
    assert!(
        (way.taken() - before) as u128 <= most,
        "{} attempts",
        way.taken() - before
    );

    sleep(PAUSE).await;
    let before = way.taken();
    let hanging = tokio::spawn(send(addr, post(START)));
    until(async || way.taken() > before).await;
    sleep(PAUSE).await;
    way.up.store(true, SeqCst);
    let res = send(addr, post(START)).await;
    assert!(
        !is_unreachable(&res),
        "{version}: an attempt that hangs keeps others from theirs"
    );
    // Nobody is held back any more.
    let sent: Vec<_> = (0..10)
        .map(|_| tokio::spawn(send(addr, post(START))))
        .collect();
    for sent in sent {
        assert!(!is_unreachable(&sent.await.unwrap()), "{version}");
    }
    // Nor does it count when it fails at last.
    assert!(is_unreachable(&hanging.await.unwrap()));
    assert!(!is_unreachable(&send(addr, post(START)).await));
}

#[tokio::test]
async fn an_open_circuit_fails_fast_over_http1() {
    fails_at_once_and_recovers("upstream.http_version=1.1").await;
}

#[tokio::test]
async fn an_open_circuit_fails_fast_over_http2() {
    fails_at_once_and_recovers("upstream.http_version=2").await;
}

#[tokio::test]
async fn an_open_circuit_fails_fast_over_either_version() {
    fails_at_once_and_recovers("upstream.http_version=auto").await;
}

#[tokio::test]
async fn an_open_circuit_spares_established_connections() {
    for version in ["upstream.http_version=1.1", "upstream.http_version=2"] {
        let way = Way::new().await;
        way.up.store(true, SeqCst);
        let proxy = way.proxy(&[version]).await;
        let mut busy = TcpStream::connect(proxy.addr()).await.unwrap();
        let head = format!("POST {START} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{{");
        busy.write_all(head.as_bytes()).await.unwrap();
        until(async || way.taken() > 0).await;
        way.up.store(false, SeqCst);
        let others: Vec<_> = (0..8)
            .map(|_| tokio::spawn(send(proxy.addr(), post(START))))
            .collect();
        for other in others {
            // Over HTTP/2 they have a place beside it.
            let expected = version.ends_with("1.1");
            assert_eq!(is_unreachable(&other.await.unwrap()), expected, "{version}");
        }
        busy.write_all(b"}").await.unwrap();
        let answer = read_until(&mut busy, "\r\n\r\n").await;
        assert!(!answer.contains("proxy-status"), "{version}: {answer}");
        assert!(
            !is_unreachable(&send(proxy.addr(), post(START)).await),
            "{version}"
        );
    }
}

#[tokio::test]
async fn without_the_circuit_every_request_is_tried() {
    let taken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&taken);
    let closing = scripted(move |stream| {
        count.fetch_add(1, SeqCst);
        async move { drop(stream) }
    });
    let set = ["listen.workers=1", "upstream.circuit_breaker=false"];
    let proxy = TestProxy::before_server(&format!("https://localhost:{}", closing.await.port()))
        .set(&set)
        .start()
        .await;
    for _ in 0..20 {
        assert!(is_unreachable(&send(proxy.addr(), post(START)).await));
    }
    assert_eq!(taken.load(SeqCst), 20);
}

#[tokio::test]
async fn failure_and_recovery_are_logged_once() {
    let tokens = api().await;
    // Bound and not listening: no other test can take the port meanwhile.
    let unheard = TcpSocket::new_v4().unwrap();
    unheard.set_reuseaddr(true).unwrap();
    unheard.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = unheard.local_addr().unwrap();
    let mut running =
        Running::start_before(&format!("http://{addr}"), &tokens, &["listen.workers=1"]);
    for _ in 0..50 {
        assert!(is_unreachable(&send(running.addr(), post(START)).await));
    }
    let listener: TcpListener = unheard.listen(16).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            read_until(&mut stream, "{}").await;
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
                .await
                .unwrap();
        }
    });
    sleep(PAUSE).await;
    for _ in 0..10 {
        assert_eq!(send(running.addr(), post(START)).await.status(), 200);
    }
    assert_eq!(running.end("-TERM"), 0);
    let count = |text: &str| running.log.matches(text).count();
    assert_eq!(
        count("opened the circuit breaker: no connection"),
        1,
        "{}",
        running.log
    );
    assert_eq!(
        count("connections to the API can be opened again account=\"default\""),
        1,
        "{}",
        running.log
    );
    let refused = running
        .log
        .lines()
        .filter(|line| line.contains("the last attempt said: "));
    let refused: Vec<_> = refused.collect();
    assert!(
        !refused.is_empty() && refused.iter().all(|line| line.contains("refused")),
        "{refused:?}"
    );
}

/// Of 40 concurrent requests 32 open a connection, and one of these succeeds. Its permit to open
/// passes to one more, and its connection serves the other seven in turn.
#[tokio::test]
async fn a_burst_opens_few_connections_and_reuses_them() {
    const OPENING: usize = 32;
    const WAITING: usize = 8;
    let secured = tls(&[], async |mut stream| {
        let mut request = Vec::new();
        while stream
            .read_buf(&mut request)
            .await
            .is_ok_and(|read| read > 0)
        {
            if request.ends_with(b"{}") {
                request.clear();
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                    .await
                    .unwrap();
            }
        }
    })
    .await;
    let target = secured
        .base_url
        .strip_prefix("https://")
        .unwrap()
        .to_owned();
    let reached = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&reached);
    let first_alone = scripted(move |mut stream| {
        let (number, target) = (count.fetch_add(1, SeqCst), target.clone());
        async move {
            if number == 0 {
                let mut onward = TcpStream::connect(target).await.unwrap();
                let _ = copy_bidirectional(&mut stream, &mut onward).await;
            } else {
                sleep(PATIENCE).await;
            }
        }
    })
    .await;
    let set = [
        "listen.workers=1",
        "upstream.circuit_breaker=false",
        "upstream.connect_timeout=2s",
        &secured.ca_file,
    ];
    let base_url = format!("https://localhost:{}", first_alone.port());
    let proxy = TestProxy::before_server(&base_url).set(&set).start().await;
    let addr = proxy.addr();
    let asked = (0..OPENING + WAITING).map(|_| tokio::spawn(send(addr, post(START))));
    let mut statuses = Vec::new();
    for answer in asked.collect::<Vec<_>>() {
        statuses.push(answer.await.unwrap().status());
    }
    let served = statuses
        .iter()
        .filter(|status| **status == StatusCode::OK)
        .count();
    assert_eq!(
        (served, reached.load(SeqCst)),
        (WAITING, OPENING + 1),
        "{statuses:?}"
    );
}
