//! Over loopback: the same requests sent straight to an upstream, and through the proxy.
//!
//! All on one machine, so that the difference between the two is the proxy's share and the wire's;
//! for CPU per request beside other proxies see docs/performance.md.

#![allow(
    clippy::expect_used,
    missing_docs,
    reason = "a bench may panic; its macros write undocumented items"
)]

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gbg_proxy::app::App;
use gbg_proxy::config::{self, Address, Sources};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

const BODIES: [(&str, usize); 2] = [("small", 1024), ("100KiB", 100 * 1024)];
const IN_FLIGHT: [usize; 2] = [1, 64];

/// Reads the whole body; grants a token or answers like `journey/start`.
async fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let addr = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = hyper::service::service_fn(answer);
            tokio::spawn(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    addr
}

async fn answer(req: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let text: &[u8] = match req.uri().path() {
        "/token" => br#"{"access_token":"bench","token_type":"Bearer","expires_in":3600}"#,
        _ => br#"{"instanceId":"k3J_w1xQe7ZpT0aBvYcD9s","status":"started","message":"started"}"#,
    };
    let mut body = req.into_body();
    while let Some(Ok(_)) = body.frame().await {}
    Ok(Response::new(Full::new(Bytes::from_static(text))))
}

async fn proxy(upstream: SocketAddr) -> (App, SocketAddr) {
    let set = [
        "listen.address=127.0.0.1:0".to_owned(),
        "listen.workers=1".to_owned(),
        "admin.address=off".to_owned(),
        "log.access=false".to_owned(),
        "token.client_id=bench".to_owned(),
        format!("upstream.base_url=http://{upstream}"),
        format!("token.endpoint=http://{upstream}/token"),
    ];
    let env = [("GBG_CLIENT_SECRET".to_owned(), "bench".to_owned())].into();
    let loaded = config::load(&Sources {
        set: set.into(),
        env,
        file: None,
    })
    .expect("a good configuration");
    let app = App::start(&loaded.config).await.expect("a proxy");
    let Address::Tcp(addr) = *app.address() else {
        unreachable!("it listens on TCP")
    };
    (app, addr)
}

async fn connect(addr: SocketAddr) -> SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(addr).await.expect("a connection");
    stream.set_nodelay(true).expect("a TCP option");
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .expect("a handshake");
    tokio::spawn(connection);
    sender
}

/// One request over `sender`, to the end of its answer.
async fn exchange(mut sender: SendRequest<Full<Bytes>>, body: Bytes) -> SendRequest<Full<Bytes>> {
    let req = Request::post("/v2/captain/journey/start")
        .header("host", "localhost")
        .body(Full::new(body));
    sender.ready().await.expect("a connection that is kept");
    let res = sender
        .send_request(req.expect("a request"))
        .await
        .expect("an answer");
    assert!(res.status().is_success(), "{res:?}");
    res.into_body().collect().await.expect("a whole answer");
    sender
}

fn end_to_end(c: &mut Criterion) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = Runtime::new().expect("a runtime");
    let upstream = runtime.block_on(upstream());
    let (_app, proxy) = runtime.block_on(proxy(upstream));
    for (body_name, size) in BODIES {
        let body = Bytes::from(vec![b'x'; size]);
        let mut group = c.benchmark_group(format!("end_to_end/{body_name}"));
        for in_flight in IN_FLIGHT {
            group.throughput(Throughput::Elements(in_flight as u64));
            for (way, addr) in [("direct", upstream), ("through_the_proxy", proxy)] {
                let mut senders = runtime.block_on(async {
                    let mut senders = Vec::new();
                    for _ in 0..in_flight {
                        senders.push(connect(addr).await);
                    }
                    senders
                });
                group.bench_function(format!("{way}/{in_flight}_in_flight"), |bencher| {
                    bencher.iter(|| {
                        senders = runtime.block_on(async {
                            let mut tasks = tokio::task::JoinSet::new();
                            for sender in senders.drain(..) {
                                tasks.spawn(exchange(sender, body.clone()));
                            }
                            tasks.join_all().await
                        });
                    });
                });
            }
        }
        group.finish();
    }
}

criterion_group!(benches, end_to_end);
criterion_main!(benches);
