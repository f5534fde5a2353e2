//! Limits of each caller and of the process: admission, queueing and rejection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Response, StatusCode};
use http_body_util::{Channel, Full};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use wiremock::ResponseTemplate;

use crate::downstream::exhaustion::metric;
use crate::support::caller::{
    PATIENCE, Whole, assert_ok, assert_took, json, post, read_until, send, until,
};
use crate::support::configured_callers::KeyedCaller;
use crate::support::process::Running;
use crate::support::server::http;
use crate::support::{Proxy, TestProxy, answer, api, forwarded, token_endpoint};

const START: &str = "/v2/captain/journey/start";

fn keyed(caller: &KeyedCaller) -> Request<Full<Bytes>> {
    let mut req = post(START);
    req.headers_mut()
        .extend([caller.key_field("x-api-key", "")]);
    req
}

fn reason(res: &Whole) -> String {
    json(res)["reason"].as_str().unwrap_or_default().to_owned()
}

/// An API that answers as many requests as permits are added, one each.
async fn paced() -> (SocketAddr, Arc<Semaphore>, Arc<Semaphore>) {
    let (let_go, arrived) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (gate, count) = (Arc::clone(&let_go), Arc::clone(&arrived));
    let addr = http(move |_| {
        let (gate, count) = (Arc::clone(&gate), Arc::clone(&count));
        async move {
            count.add_permits(1);
            gate.acquire().await.unwrap().forget();
            Response::new(Full::new(Bytes::from_static(b"done")))
        }
    })
    .await;
    (addr, let_go, arrived)
}

async fn before(api: SocketAddr, tables: &[String], set: &[&str]) -> Proxy {
    TestProxy::before_server(&format!("http://{api}"))
        .callers(tables)
        .set(set)
        .start()
        .await
}

#[tokio::test]
async fn exceeding_the_rate_gets_429_with_retry_after() {
    let api = api().await;
    answer(&api, ResponseTemplate::new(200)).await;
    let slow = KeyedCaller::new("slow", "rate = \"2/min, burst 3\"");
    let free = KeyedCaller::new("free", "");
    let proxy = TestProxy::before(&api)
        .callers(&[slow.table(), free.table()])
        .start()
        .await;
    let answers = join_all((0..5).map(|_| send(proxy.addr(), keyed(&slow)))).await;
    let refused: Vec<_> = answers
        .iter()
        .filter(|res| res.status() == StatusCode::TOO_MANY_REQUESTS)
        .collect();
    assert_eq!(refused.len(), 2);
    for res in refused {
        assert_eq!(reason(res), "rate_limited");
        let wait: u64 = res.headers()["retry-after"]
            .to_str()
            .unwrap()
            .parse()
            .unwrap();
        assert!((25..=30).contains(&wait), "{wait}");
        assert_eq!(res.headers()["ratelimit-policy"], "\"caller\";q=2;w=60");
        assert_eq!(
            res.headers()["ratelimit"],
            format!("\"caller\";r=0;t={wait}")
        );
    }
    assert_eq!(
        send(proxy.addr(), keyed(&free)).await.status(),
        StatusCode::OK
    );
    assert_eq!(forwarded(&api).await.len(), 4);
}

#[tokio::test]
async fn max_in_flight_limits_each_caller() {
    let (api, let_go, arrived) = paced().await;
    let one = KeyedCaller::new("one", "max_in_flight = 1");
    let other = KeyedCaller::new("other", "");
    let proxy = before(api, &[one.table(), other.table()], &[]).await;
    let first = tokio::spawn(send(proxy.addr(), keyed(&one)));
    arrived.acquire().await.unwrap().forget();
    let second = send(proxy.addr(), keyed(&one)).await;
    assert_eq!(
        (second.status(), &*reason(&second)),
        (StatusCode::TOO_MANY_REQUESTS, "rate_limited")
    );
    assert_eq!(second.headers()["retry-after"], "1");
    let_go.add_permits(2);
    assert_eq!(
        send(proxy.addr(), keyed(&other)).await.status(),
        StatusCode::OK
    );
    assert_eq!(first.await.unwrap().status(), StatusCode::OK);
    let_go.add_permits(1);
    assert_eq!(
        send(proxy.addr(), keyed(&one)).await.status(),
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_full_queue_rejects_at_once() {
    let (api, let_go, arrived) = paced().await;
    let set = [
        "limits.max_in_flight=2",
        "limits.queue=1",
        "limits.queue_timeout=20s",
    ];
    let proxy = before(api, &[], &set).await;
    let addr = proxy.addr();
    let mut in_flight: Vec<_> = (0..2)
        .map(|_| tokio::spawn(send(addr, post(START))))
        .collect();
    let _ = arrived.acquire_many(2).await.unwrap();
    // Of two more, one waits, and the other does not.
    in_flight.extend((0..2).map(|_| tokio::spawn(send(addr, post(START)))));
    until(async || in_flight.iter().any(tokio::task::JoinHandle::is_finished)).await;
    let first = in_flight
        .iter()
        .position(tokio::task::JoinHandle::is_finished)
        .unwrap();
    let refused = in_flight.remove(first).await.unwrap();
    assert_eq!(
        (refused.status(), &*reason(&refused)),
        (StatusCode::SERVICE_UNAVAILABLE, "overloaded")
    );
    assert_eq!(refused.headers()["retry-after"], "1");
    // All who were taken are served, and then there is room again.
    let_go.add_permits(100);
    for taken in in_flight {
        assert_eq!(taken.await.unwrap().status(), StatusCode::OK);
    }
    assert_ok(addr, START).await;
}

#[tokio::test]
async fn the_queue_has_one_name() {
    let (api, let_go, arrived) = paced().await;
    let tokens = crate::support::api().await;
    let set = [
        format!("upstream.base_url=http://{api}"),
        format!("token.endpoint={}", token_endpoint(&tokens)),
        "admin.address=127.0.0.1:0".to_owned(),
        "limits.max_in_flight=1".to_owned(),
        "limits.queue=1".to_owned(),
        "limits.queue_timeout=20s".to_owned(),
    ];
    let mut running = Running::start(&set.each_ref().map(String::as_str));
    let (addr, admin) = (running.addr(), running.admin());
    let mut served = vec![tokio::spawn(send(addr, post(START)))];
    let _ = arrived.acquire().await.unwrap();
    served.push(tokio::spawn(send(addr, post(START))));
    until(async || metric(admin, "gbg_proxy_queued").await == 1.0).await;
    let status = Request::get("/status").header("host", "localhost");
    let status = send(admin, status.body(Full::default()).unwrap()).await;
    assert_eq!(json(&status)["queued"], 1);
    assert_eq!(reason(&send(addr, post(START)).await), "overloaded");
    let_go.add_permits(2);
    for served in join_all(served).await {
        assert_eq!(served.unwrap().status(), StatusCode::OK);
    }
    assert_eq!(running.end("-TERM"), 0);
    assert!(
        running.log.contains("in_flight=1 queued=1"),
        "{}",
        running.log
    );
}

#[tokio::test]
async fn queue_timeout_rejects_waiting_requests() {
    let (api, let_go, arrived) = paced().await;
    let set = [
        "limits.max_in_flight=1",
        "limits.queue=5",
        "limits.queue_timeout=200ms",
    ];
    let proxy = before(api, &[], &set).await;
    let first = tokio::spawn(send(proxy.addr(), post(START)));
    arrived.acquire().await.unwrap().forget();
    let began = Instant::now();
    assert_eq!(reason(&send(proxy.addr(), post(START)).await), "overloaded");
    assert_took(began, Duration::from_millis(200)..);
    let_go.add_permits(1);
    assert_eq!(first.await.unwrap().status(), StatusCode::OK);
}

/// One caller has taken every place and the whole queue; the next place is nevertheless for the
/// other.
#[tokio::test]
async fn one_callers_flood_does_not_block_another() {
    let (api, let_go, arrived) = paced().await;
    let (flood, quiet) = (KeyedCaller::new("flood", ""), KeyedCaller::new("quiet", ""));
    let set = [
        "limits.max_in_flight=2",
        "limits.queue=20",
        "limits.queue_timeout=20s",
    ];
    let proxy = before(api, &[flood.table(), quiet.table()], &set).await;
    let addr = proxy.addr();
    let flooding: Vec<_> = (0..40)
        .map(|_| tokio::spawn(send(addr, keyed(&flood))))
        .collect();
    // Forty came for twenty-two places.
    until(async || flooding.iter().filter(|one| one.is_finished()).count() >= 18).await;
    arrived.acquire_many(2).await.unwrap().forget();
    let quiet = tokio::spawn(send(addr, keyed(&quiet)));
    // The last of the flood has made room for it: it waits.
    until(async || flooding.iter().filter(|one| one.is_finished()).count() >= 19).await;
    // By turns: of the next two places it has one.
    let_go.add_permits(2);
    arrived.acquire_many(2).await.unwrap().forget();
    let_go.add_permits(2);
    let answered = timeout(PATIENCE, quiet)
        .await
        .expect("it waits behind the flood")
        .unwrap();
    assert_eq!(answered.status(), StatusCode::OK);
    let_go.add_permits(100);
    let mut statuses = [0, 0];
    for one in flooding {
        statuses[usize::from(one.await.unwrap().status() == StatusCode::OK)] += 1;
    }
    assert_eq!(statuses, [19, 21], "refused and served of the flood");
}

/// Until the body has ended, not the head alone.
#[tokio::test]
async fn a_permit_is_held_until_the_responses_end() {
    let endless = http(async |_| {
        let (mut sender, body) = Channel::<Bytes, std::convert::Infallible>::new(1);
        tokio::spawn(async move {
            let _ = sender.send_data(Bytes::from_static(b"begun")).await;
            std::future::pending::<()>().await;
        });
        Response::new(body)
    })
    .await;
    let set = ["limits.max_in_flight=1", "limits.queue=0"];
    let proxy = before(endless, &[], &set).await;
    let mut caller = TcpStream::connect(proxy.addr()).await.unwrap();
    caller
        .write_all(format!("GET {START} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes())
        .await
        .unwrap();
    read_until(&mut caller, "begun").await;
    assert_eq!(reason(&send(proxy.addr(), post(START)).await), "overloaded");
    drop(caller);
    // Who goes away gives it back as well.
    until(async || {
        let mut again = TcpStream::connect(proxy.addr()).await.unwrap();
        again
            .write_all(format!("GET {START} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes())
            .await
            .unwrap();
        read_until(&mut again, "\r\n\r\n")
            .await
            .starts_with("HTTP/1.1 200")
    })
    .await;
}

#[tokio::test]
async fn an_upstream_429_pauses_its_caller_if_configured() {
    let api = api().await;
    let busy = ResponseTemplate::new(429)
        .insert_header("retry-after", "30")
        .set_body_string("theirs");
    answer(&api, busy).await;
    let (busy, other) = (KeyedCaller::new("busy", ""), KeyedCaller::new("other", ""));
    let tables = [busy.table(), other.table()];
    let proxy = TestProxy::before(&api)
        .callers(&tables)
        .set(&["limits.honor_retry_after=true"])
        .start()
        .await;
    let first = send(proxy.addr(), keyed(&busy)).await;
    assert_eq!(
        (first.status(), &first.body()[..]),
        (StatusCode::TOO_MANY_REQUESTS, &b"theirs"[..])
    );
    let second = send(proxy.addr(), keyed(&busy)).await;
    assert_eq!(reason(&second), "rate_limited");
    let wait: u64 = second.headers()["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((25..=30).contains(&wait), "{wait}");
    assert_eq!(
        &send(proxy.addr(), keyed(&other)).await.body()[..],
        b"theirs"
    );
    assert_eq!(forwarded(&api).await.len(), 2);

    let proxy = TestProxy::before(&api).callers(&tables).start().await;
    for _ in 0..2 {
        assert_eq!(
            &send(proxy.addr(), keyed(&busy)).await.body()[..],
            b"theirs"
        );
    }
}

#[tokio::test]
async fn a_drain_rejects_queued_and_finishes_running_requests() {
    let (api, let_go, arrived) = paced().await;
    let set = [
        "limits.max_in_flight=1",
        "limits.queue=5",
        "limits.queue_timeout=20s",
    ];
    let proxy = before(api, &[], &set).await;
    let addr = proxy.addr();
    let first = tokio::spawn(send(addr, post(START)));
    arrived.acquire().await.unwrap().forget();
    let waiting = tokio::spawn(send(addr, post(START)));
    // Its head has been read when a further one on the same connection would be; there is nothing
    // else to see of it.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let drained = tokio::spawn(proxy.shut_down());
    let refused = timeout(PATIENCE, waiting)
        .await
        .expect("it waits on")
        .unwrap();
    assert_eq!(
        (refused.status(), &*reason(&refused)),
        (StatusCode::SERVICE_UNAVAILABLE, "draining")
    );
    let_go.add_permits(1);
    assert_eq!(first.await.unwrap().status(), StatusCode::OK);
    timeout(PATIENCE, drained)
        .await
        .expect("the drain does not end")
        .unwrap();
}
