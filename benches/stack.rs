//! The stack in process: what the proxy itself adds to a request, without sockets and without an
//! upstream.

#![allow(
    clippy::expect_used,
    missing_docs,
    reason = "a bench may panic; its macros write undocumented items"
)]

use std::convert::Infallible;
use std::hint::black_box;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use gbg_proxy::config::{self, Config, Sources};
use gbg_proxy::error::Error;
use gbg_proxy::metrics::{Metrics, WorkerMetrics};
use gbg_proxy::proxy::{Authorized, ConnectionInfo, Policy, SharedState, WithContext, stack};
use gbg_proxy::token::{self, TokenReader};
use http::{HeaderValue, Request, Response};
use http_body_util::Empty;
use tokio::runtime::Runtime;
use tower::{Service, service_fn};

fn config(access: bool) -> Config {
    let set = [
        "upstream.base_url=http://localhost".to_owned(),
        "token.endpoint=http://localhost".to_owned(),
        "token.client_id=bench".to_owned(),
        format!("log.access={access}"),
    ];
    let env = [("GBG_CLIENT_SECRET".to_owned(), "bench".to_owned())].into();
    config::load(&Sources {
        set: set.into(),
        env,
        file: None,
    })
    .expect("a good configuration")
    .config
}

/// A reader of a token that lives for an hour.
fn tokens(runtime: &Runtime) -> TokenReader {
    let header =
        HeaderValue::from_str(&format!("Bearer {}", "a".repeat(900))).expect("a header value");
    let token = token::fixed(header, Duration::from_secs(3600));
    runtime.block_on(token).expect("a token")
}

fn request() -> Request<Empty<Bytes>> {
    Request::post("/v2/captain/journey/start")
        .header("host", "localhost:8080")
        .header("content-type", "application/json")
        .header("content-length", "1024")
        .header("accept", "application/json")
        .header("user-agent", "legacy-client/1.0")
        .body(Empty::new())
        .expect("a request")
}

/// Answers at once, as an upstream would whose network takes no time.
async fn answer(_: Authorized<WithContext<Empty<Bytes>>>) -> Result<Response<Empty<Bytes>>, Error> {
    let res = Response::builder()
        .header("content-type", "application/json")
        .header("x-request-id", "gbg-1");
    Ok(res.body(Empty::new()).expect("a response"))
}

fn whole_stack(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let tokens = tokens(&runtime);
    // Nothing listens to the log: what is measured is the record of the request, and not its line.
    for (name, access) in [
        ("stack/access_log_off", false),
        ("stack/access_log_on", true),
    ] {
        let config = config(access);
        let shared = SharedState::new(&config, &Metrics::new(1), None);
        let policy = Arc::new(Policy::new(
            &config,
            &shared,
            tokens.clone(),
            &Default::default(),
            &Arc::default(),
        ));
        let mut service = stack(
            &policy,
            policy.identify(ConnectionInfo::default()),
            service_fn(answer),
        );
        c.bench_function(name, |bencher| {
            bencher.iter_batched(
                request,
                |req| {
                    let answered: Result<_, Infallible> =
                        runtime.block_on(service.call(black_box(req)));
                    // Here: an answer holds its place in the process, and a batch may be larger
                    // than all of these.
                    drop(answered);
                },
                criterion::BatchSize::SmallInput,
            );
        });
    }
}

/// As workers do it: each thread has a policy of its own, and they share what workers share. The time
/// of a request is that of the slowest thread; what grows with their number is what they fight
/// over.
fn threads(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let tokens = tokens(&runtime);
    let config = config(false);
    for count in [1, 2] {
        let metrics = Metrics::new(count);
        let shared = SharedState::new(&config, &metrics, None);
        let policy = |worker: &Arc<WorkerMetrics>| {
            Arc::new(Policy::new(
                &config,
                &shared,
                tokens.clone(),
                worker,
                &worker.account("default"),
            ))
        };
        let policy: Vec<_> = metrics.workers().iter().map(policy).collect();
        c.bench_function(&format!("stack/threads/{count}"), |bencher| {
            bencher.iter_custom(|requests| {
                let begin = Barrier::new(count);
                let time = |policy: &Arc<Policy>| {
                    let mut service = stack(
                        policy,
                        policy.identify(ConnectionInfo::default()),
                        service_fn(answer),
                    );
                    let runtime = tokio::runtime::Builder::new_current_thread()
                        .build()
                        .expect("a runtime");
                    begin.wait();
                    let began = Instant::now();
                    runtime.block_on(async {
                        for _ in 0..requests {
                            black_box(service.call(request()).await)
                                .unwrap_or_else(|never| match never {});
                        }
                    });
                    began.elapsed()
                };
                thread::scope(|scope| {
                    let threads: Vec<_> = policy
                        .iter()
                        .map(|policy| scope.spawn(|| time(policy)))
                        .collect();
                    threads
                        .into_iter()
                        .map(|thread| thread.join().expect("a time"))
                        .max()
                        .unwrap_or_default()
                })
            });
        });
    }
}

criterion_group!(benches, whole_stack, threads);
criterion_main!(benches);
