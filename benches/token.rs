//! Cost of reading the token, from one task and from sixteen, idle and while tokens are replaced.

#![allow(
    clippy::expect_used,
    missing_docs,
    reason = "a bench may panic; its macros write undocumented items"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use gbg_proxy::token::{self, TokenReader};
use http::HeaderValue;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// A reader of tokens that live for `lifetime`, the first of which is there.
fn tokens(runtime: &Runtime, lifetime: Duration) -> TokenReader {
    let header =
        HeaderValue::from_str(&format!("Bearer {}", "a".repeat(900))).expect("a header value");
    runtime
        .block_on(token::fixed(header, lifetime))
        .expect("a token")
}

/// Reads `count` times in each of `tasks` tasks, which have a reader each, as workers do.
async fn read(reader: TokenReader, tasks: u64, count: u64) -> Duration {
    let began = Instant::now();
    let mut running = JoinSet::new();
    for _ in 0..tasks {
        let reader = reader.clone();
        running.spawn(async move {
            for _ in 0..count {
                black_box(reader.current());
            }
        });
    }
    running.join_all().await;
    began.elapsed()
}

fn current(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let hour = tokens(&runtime, Duration::from_secs(3600));
    // Replaced as often as the refresh task ever does: once a second.
    let second = tokens(&runtime, Duration::from_secs(1));
    for (state, reader) in [("idle", hour), ("refreshing", second)] {
        for tasks in [1, 16] {
            let reader = reader.clone();
            c.bench_function(&format!("token/current/{state}/{tasks}_tasks"), |bencher| {
                bencher.iter_custom(|count| {
                    let took = runtime.block_on(read(reader.clone(), tasks, count));
                    took / u32::try_from(tasks).expect("a small number")
                });
            });
        }
    }
}

criterion_group!(benches, current);
criterion_main!(benches);
