//! Pauses after a failed fetch while requests wait for a token.

use super::*;

/// The longest pause while requests wait.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// Waits until the next fetch is at least `pause` away.
async fn long_pause(reader: &TokenReader, pause: Duration) {
    for _ in 0..10_000 {
        if reader
            .error()
            .retry_after()
            .is_some_and(|left| left >= pause)
        {
            return;
        }
        sleep(seconds(1)).await;
    }
    panic!("no pause is as long as {pause:?}");
}

#[tokio::test(start_paused = true)]
async fn waiting_requests_keep_pauses_short() {
    let endpoint = FakeEndpoint::new(|_| unavailable());
    endpoint
        .run(async |reader| {
            let end = Instant::now() + seconds(600);
            while Instant::now() < end {
                assert!(reader.wait().await.is_err());
            }
        })
        .await;
    assert!(endpoint.calls() > 100, "{} calls", endpoint.calls());
    assert!(
        endpoint.gaps().iter().all(|gap| *gap <= MAX_PAUSE),
        "{:?}",
        endpoint.gaps()
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_shortens_a_running_pause() {
    for late in [0, 3, 8] {
        let alive = Cell::new(false);
        let endpoint = FakeEndpoint::new(|_| {
            if alive.get() {
                granted("a", 100)
            } else {
                unavailable()
            }
        });
        endpoint
            .run(async |reader| {
                long_pause(&reader, seconds(14)).await;
                alive.set(true);
                sleep(seconds(late)).await;
                let began = Instant::now();
                assert_eq!(
                    reader.wait().await.unwrap().header,
                    "Bearer a",
                    "{late} s late"
                );
                let limit = MAX_PAUSE.saturating_sub(seconds(late));
                assert!(
                    began.elapsed() <= limit,
                    "{late} s late: {:?}",
                    began.elapsed()
                );
            })
            .await;
    }
}

#[tokio::test(start_paused = true)]
async fn retry_after_reports_the_shortened_pause() {
    let endpoint = FakeEndpoint::new(|_| unavailable());
    endpoint
        .run(async |reader| {
            long_pause(&reader, seconds(14)).await;
            let given_up = timeout(Duration::from_millis(1), reader.wait()).await;
            assert!(given_up.is_err() && reader.error().retry_after().unwrap() <= MAX_PAUSE);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn without_waiting_requests_the_pause_is_not_shortened() {
    let endpoint = FakeEndpoint::new(|_| unavailable());
    endpoint.run(async |_| sleep(seconds(1200)).await).await;
    assert!(
        endpoint.gaps().iter().any(|gap| *gap > MAX_PAUSE * 2),
        "{:?}",
        endpoint.gaps()
    );
}

#[tokio::test(start_paused = true)]
async fn waiting_requests_do_not_shorten_retry_after() {
    let endpoint = FakeEndpoint::new(|_| busy(60));
    endpoint
        .run(async |reader| {
            for _ in 0..50 {
                assert!(reader.wait().await.is_err());
            }
        })
        .await;
    assert!(
        endpoint.gaps().iter().all(|gap| *gap == seconds(60)),
        "{:?}",
        endpoint.gaps()
    );
}

#[tokio::test(start_paused = true)]
async fn waiting_requests_do_not_hurry_403_and_429() {
    for status in [StatusCode::FORBIDDEN, StatusCode::TOO_MANY_REQUESTS] {
        for retry_after in [None, Some(Duration::ZERO)] {
            let endpoint = FakeEndpoint::new(move |_| {
                Err(FetchError::Status {
                    status,
                    retry_after,
                })
            });
            endpoint
                .run(async |reader| {
                    let end = Instant::now() + seconds(1200);
                    while Instant::now() < end {
                        assert!(reader.wait().await.is_err());
                        sleep(Duration::from_millis(100)).await;
                    }
                })
                .await;
            let gaps = endpoint.gaps();
            assert!(
                gaps.iter().any(|gap| *gap > MAX_PAUSE * 2),
                "{status}: {gaps:?}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn waiting_requests_do_not_hurry_a_refused_client() {
    let endpoint = FakeEndpoint::new(|_| refused());
    endpoint
        .run(async |reader| {
            for _ in 0..6000 {
                assert!(reader.wait().await.is_err());
                sleep(Duration::from_millis(100)).await;
            }
        })
        .await;
    let gaps = endpoint.gaps();
    assert!(gaps.iter().all(|gap| *gap >= seconds(5)), "{gaps:?}");
    assert!(gaps.iter().any(|gap| *gap > seconds(15)), "{gaps:?}");
}
