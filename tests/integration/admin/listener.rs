//! The admin listener under connections that do nothing: probes are answered all the same, and
//! names stay here.

use std::net::SocketAddr;
use std::time::Duration;

use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{sleep, timeout};
use wiremock::ResponseTemplate;

use crate::support::caller::{PATIENCE, connect_from, json, post, raw, read_until, send, until};
use crate::support::configured_callers::KeyedCaller;
use crate::support::process::Running;
use crate::support::{TestProxy, answer, api};

const LIVEZ: &str = "GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const PING: &[u8] = b"\0\0\x08\x06\0\0\0\0\0probe-me";
const ATTACKERS: usize = 500;
/// What the process may hold more than at rest.
const MAX_GROWTH: u64 = 64 << 20;

/// Sends a request on `stream`, and reads the whole response to a probe.
async fn assert_alive(mut stream: TcpStream) {
    stream.write_all(LIVEZ.as_bytes()).await.unwrap();
    assert!(
        read_until(&mut stream, "ok\n")
            .await
            .starts_with("HTTP/1.1 200 ")
    );
}

/// Connections that send `bytes` and stay, from one address or from forty.
async fn attack(addr: SocketAddr, addresses: u8, bytes: &[u8]) -> Vec<TcpStream> {
    let mut attackers = Vec::new();
    for host in (0..addresses).cycle().take(ATTACKERS) {
        let mut stream = connect_from(host + 1, addr).await;
        // It may have been closed by now.
        let _ = stream.write_all(bytes).await;
        attackers.push(stream);
    }
    attackers
}

/// Looks whether probes are answered while `bytes` were sent on each of many connections that stay
/// open.
async fn assert_answers_probes_despite(bytes: &[u8]) {
    let running = spawn_blocking(|| Running::start(&["admin.address=127.0.0.1:0"]))
        .await
        .unwrap();
    let admin = running.admin();
    assert_alive(connect_from(1, admin).await).await;
    let rest = running.resident_bytes();
    for addresses in [1, 40] {
        let attackers = attack(admin, addresses, bytes).await;
        for host in [1, 2, 200] {
            assert_alive(connect_from(host, admin).await).await;
        }
        let grown = running.resident_bytes().saturating_sub(rest);
        assert!(
            grown < MAX_GROWTH,
            "{grown} bytes for {ATTACKERS} connections of {addresses} addresses"
        );
        drop(attackers);
    }
}

#[tokio::test]
async fn silent_connections_do_not_block_probes() {
    assert_answers_probes_despite(b"").await;
}

#[tokio::test]
async fn partial_heads_do_not_block_probes() {
    let head = format!("GET /livez HTTP/1.1\r\nX: {}", "x".repeat(15_000));
    assert_answers_probes_despite(head.as_bytes()).await;
}

#[tokio::test]
async fn a_probe_with_a_long_head_gets_431() {
    let proxy = TestProxy::before(&api().await).start().await;
    let head = |length| {
        format!(
            "GET /livez HTTP/1.1\r\nConnection: close\r\nX: {}\r\n\r\n",
            "x".repeat(length)
        )
    };
    assert!(
        raw(proxy.admin(), head(12_000))
            .await
            .starts_with("HTTP/1.1 200 ")
    );
    assert!(
        raw(proxy.admin(), head(20_000))
            .await
            .starts_with("HTTP/1.1 431 ")
    );
}

#[tokio::test]
async fn idle_connections_do_not_block_probes() {
    assert_answers_probes_despite(LIVEZ.as_bytes()).await;
}

#[tokio::test]
async fn stalled_readers_do_not_block_probes() {
    let requests = "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".repeat(200);
    assert_answers_probes_despite(requests.as_bytes()).await;
}

/// Eight that take a byte of their response now and then, which is progress, hold all there is for
/// pages.
#[tokio::test]
async fn slow_readers_do_not_block_scrapes() {
    let mut running = spawn_blocking(|| Running::start(&["admin.address=127.0.0.1:0"]))
        .await
        .unwrap();
    let admin = running.admin();
    // No window for responses, GET /metrics, and then a window of three bytes.
    let begin = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\0\
        \0\0\x17\x01\x05\0\0\0\x01\x82\x86\x04\x08/metrics\x01\x09127.0.0.1\
        \0\0\x04\x08\0\0\0\0\x01\0\0\0\x03";
    let one_byte = b"\0\0\x04\x08\0\0\0\0\x01\0\0\0\x01";
    let mut dripping = JoinSet::new();
    for host in 1..=8 {
        let mut stream = connect_from(host, admin).await;
        stream.write_all(begin).await.unwrap();
        read_until(&mut stream, "# H").await;
        dripping.spawn(async move {
            while stream.write_all(one_byte).await.is_ok() {
                sleep(Duration::from_millis(50)).await;
            }
            host
        });
    }
    // Each of them has read for long enough to give way, and may read on for as long as nobody
    // waits.
    sleep(Duration::from_millis(2500)).await;
    let scrape = "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
    let metrics = raw(admin, scrape).await;
    assert!(metrics.starts_with("HTTP/1.1 200 "), "{metrics}");
    let cut_off = timeout(PATIENCE, dripping.join_next())
        .await
        .expect("all of them stay open");
    assert_eq!(cut_off.unwrap().unwrap(), 1, "the oldest gives way");
    let metrics = raw(admin, scrape).await;
    for (reason, expected) in [("response_timeout", "1"), ("evicted", "0")] {
        let series = format!(
            "gbg_proxy_refused_connections_total{{listener=\"admin\",reason=\"{reason}\"}} "
        );
        let count = metrics
            .lines()
            .find_map(|line| line.strip_prefix(&series))
            .unwrap();
        assert_eq!(count, expected, "{reason}");
    }
    assert_eq!(running.end("-TERM"), 0);
    let line = running
        .log
        .lines()
        .find(|line| line.contains("reason=\"response_timeout\""))
        .unwrap();
    assert!(
        line.contains("cause=\"the caller did not read its response in time\""),
        "{line}"
    );
}

#[tokio::test]
async fn stalled_http2_readers_do_not_block_probes() {
    // No window for responses, then GET /metrics on one stream after the other.
    let settings = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\0";
    let request = |stream: u8| {
        [
            b"\0\0\x17\x01\x05\0\0\0",
            &[stream][..],
            b"\x82\x86\x04\x08/metrics\x01\x09127.0.0.1",
        ]
        .concat()
    };
    let requests: Vec<_> = (0..100).map(|count| request(2 * count + 1)).collect();
    assert_answers_probes_despite(&[&settings[..], &requests.concat()].concat()).await;
}

#[tokio::test]
async fn http2_pings_do_not_block_probes() {
    assert_answers_probes_despite(PREFACE).await;

    let proxy = TestProxy::before(&api().await).start().await;
    let mut pinging = JoinSet::new();
    for mut stream in attack(proxy.admin(), 40, PREFACE).await {
        pinging.spawn(async move {
            while stream.write_all(PING).await.is_ok() {
                sleep(Duration::from_millis(20)).await;
            }
        });
    }
    for host in [1, 2, 200] {
        assert_alive(connect_from(host, proxy.admin()).await).await;
    }
    // Those that were evicted see it.
    for _ in 0..ATTACKERS - 64 {
        timeout(PATIENCE, pinging.join_next())
            .await
            .expect("more than 64 stay open")
            .unwrap()
            .unwrap();
    }
}

#[tokio::test]
async fn one_address_does_not_evict_another() {
    let proxy = TestProxy::before(&api().await).start().await;
    let mut scraper = connect_from(200, proxy.admin()).await;
    scraper.write_all(LIVEZ.as_bytes()).await.unwrap();
    read_until(&mut scraper, "ok\n").await;
    let mut attackers = attack(proxy.admin(), 1, b"").await;
    assert_alive(scraper).await;

    let mut first = attackers.remove(0);
    assert_eq!(
        timeout(PATIENCE, first.read(&mut [0]))
            .await
            .expect("it stays open")
            .unwrap(),
        0
    );
    let metrics = raw(
        proxy.admin(),
        "GET /metrics HTTP/1.1\r\nHost: [::1]\r\nConnection: close\r\n\r\n",
    )
    .await;
    let evicted = "gbg_proxy_refused_connections_total{listener=\"admin\",reason=\"evicted\"} ";
    let count = metrics
        .lines()
        .find_map(|line| line.strip_prefix(evicted))
        .unwrap();
    // Also one for the connection that asks, and perhaps one more.
    assert!(
        (ATTACKERS - 16..=ATTACKERS - 14).contains(&count.parse().unwrap()),
        "{count}"
    );
}

#[tokio::test]
async fn a_foreign_host_sees_no_caller_names() {
    let api = api().await;
    answer(&api, ResponseTemplate::new(200)).await;
    let (crm, web) = (KeyedCaller::new("crm", ""), KeyedCaller::new("web", ""));
    let set = ["admin.hosts=[\"ops.example\"]"];
    let proxy = TestProxy::before(&api)
        .callers(&[crm.table(), web.table()])
        .set(&set)
        .start()
        .await;
    let admin = proxy.admin();
    for caller in [&crm, &web] {
        let mut req = post("/v2/captain/journey/start");
        req.headers_mut()
            .extend([caller.key_field("x-api-key", "")]);
        assert_eq!(send(proxy.addr(), req).await.status(), StatusCode::OK);
    }
    until(async || {
        let status = http::Request::get("/status")
            .header("host", "localhost")
            .body(Default::default());
        json(&send(admin, status.unwrap()).await)["requests"]["total"] == 2
    })
    .await;
    let metrics = async |fields: &str| {
        raw(
            admin,
            format!("GET /metrics HTTP/1.1\r\n{fields}Connection: close\r\n\r\n"),
        )
        .await
    };
    let of = |caller: &str, count: u32| {
        format!(
            "gbg_proxy_requests_total{{account=\"default\",caller=\"{caller}\",endpoint=\"journey/start\",status=\"200\",source=\"gbg\"}} {count}\n"
        )
    };
    for ours in [
        "localhost",
        "LOCALHOST:1",
        "127.0.0.1:8081",
        "[::1]",
        "ops.example",
    ] {
        let response = metrics(&format!("Host: {ours}\r\n")).await;
        assert!(
            response.contains(&of("crm", 1)) && response.contains(&of("web", 1)),
            "{ours}: {response}"
        );
    }
    for foreign in [
        "Host: evil.example\r\n",
        "Host: localhost.evil.example\r\n",
        "Host: 127.0.0.1.evil.example\r\n",
        "Host: 10.0.0.1\r\n",
        "Host: localhost\r\nHost: evil.example\r\n",
        "Host: evil.example\r\nAccept: application/openmetrics-text\r\n",
    ] {
        let response = metrics(foreign).await;
        assert!(
            response.starts_with("HTTP/1.1 200 ") && response.contains(&of("(hidden)", 2)),
            "{foreign}: {response}"
        );
        assert!(
            !response.contains("crm") && !response.contains("web"),
            "{foreign}: {response}"
        );
    }
}

#[tokio::test]
async fn a_foreign_host_sees_no_readiness_cause() {
    let proxy = TestProxy::new(&api().await.uri(), "http://127.0.0.1:1/")
        .start()
        .await;
    for (host, body) in [
        ("evil.example", "not ready\n"),
        ("127.0.0.1", "not ready: there is no access token"),
    ] {
        let asked = format!("GET /readyz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let response = raw(proxy.admin(), asked).await;
        let (head, response) = response.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with("HTTP/1.1 503 ") && response.starts_with(body),
            "{host}: {response}"
        );
    }
    for path in ["/startupz", "/livez"] {
        let asked =
            format!("GET {path} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n");
        assert!(
            raw(proxy.admin(), asked).await.ends_with("\r\n\r\nok\n"),
            "{path}"
        );
    }
}
