//! Pauses between fetches: minimum, growth and Retry-After.

use super::*;

#[tokio::test(start_paused = true)]
async fn two_fetches_start_at_least_a_second_apart() {
    let responses: [fn(usize) -> FetchResult; 4] = [
        |_| granted("a", 1),
        |_| unavailable(),
        |_| busy(0),
        |call| granted(&call.to_string(), 20),
    ];
    for respond in responses {
        let endpoint = FakeEndpoint::new(respond);
        let disturb = async |reader: TokenReader| {
            for _ in 0..600 {
                sleep(Duration::from_millis(100)).await;
                endpoint.changed.notify_one();
                if let Some(bearer) = reader.current() {
                    let _ = timeout(
                        Duration::from_millis(1),
                        reader.wait_for_newer(bearer.generation),
                    )
                    .await;
                }
            }
        };
        endpoint.run(disturb).await;
        assert!(endpoint.calls() > 1);
        assert!(
            endpoint.gaps().iter().all(|gap| *gap >= MIN_FETCH_INTERVAL),
            "{:?}",
            endpoint.gaps()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_expiring_token_does_not_hurry_refused_clients() {
    let endpoint = FakeEndpoint::new(|call| {
        if call == 0 {
            granted("a", 100)
        } else {
            refused()
        }
    });
    endpoint.run(async |_| sleep(seconds(600)).await).await;
    let gaps = &endpoint.gaps()[1..];
    assert!(
        gaps.iter().all(|gap| (5..=60).contains(&gap.as_secs())),
        "{gaps:?}"
    );
    assert!(
        gaps.iter().any(|gap| *gap > seconds(15)),
        "it does not grow: {gaps:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn refused_client_requests_fail_with_retry_after() {
    let endpoint = FakeEndpoint::new(|_| refused());
    let error = endpoint.run(async |reader| {
        sleep(seconds(1)).await;
        reader.wait().await.unwrap_err()
    });
    let error = error.await;
    let Error::ClientRefused { retry_after } = error else {
        panic!("{error:?}")
    };
    assert!((1..=60).contains(&retry_after.as_secs()), "{retry_after:?}");
}

#[tokio::test(start_paused = true)]
async fn retry_after_wins_over_the_backoff() {
    let endpoint = FakeEndpoint::new(|call| match call {
        0 | 1 => busy(120),
        2 => refused_for(120),
        _ => granted("a", 100),
    });
    endpoint.run(async |_| sleep(seconds(400)).await).await;
    assert_eq!(&endpoint.gaps()[..3], [seconds(120); 3]);
}

/// `Retry-After: 0`, or a date in the past because the clocks differ.
#[tokio::test(start_paused = true)]
async fn a_retry_after_of_zero_keeps_the_backoff() {
    let endpoint = FakeEndpoint::new(|_| busy(0));
    endpoint.run(async |_| sleep(seconds(300)).await).await;
    assert!(
        endpoint.calls() < 100,
        "{} calls in 300 s",
        endpoint.calls()
    );
    let endpoint = FakeEndpoint::new(|call| {
        let retry_after = Some(seconds((call % 2) as u64));
        Err(FetchError::Refused {
            status: StatusCode::UNAUTHORIZED,
            code: None,
            retry_after,
        })
    });
    endpoint.run(async |_| sleep(seconds(300)).await).await;
    assert!(
        endpoint.gaps().iter().all(|gap| *gap >= seconds(5)),
        "{:?}",
        endpoint.gaps()
    );
}

#[tokio::test(start_paused = true)]
async fn success_and_changed_credentials_reset_the_backoff() {
    let endpoint = FakeEndpoint::new(|call| {
        if call % 7 == 0 {
            granted("a", 1000)
        } else {
            unavailable()
        }
    });
    endpoint.run(async |_| sleep(seconds(3600)).await).await;
    let after_a_grant = endpoint
        .gaps()
        .into_iter()
        .skip(1)
        .step_by(7)
        .collect::<Vec<_>>();
    assert!(
        after_a_grant.len() > 2 && after_a_grant.iter().all(|gap| *gap <= seconds(2)),
        "{after_a_grant:?}"
    );

    let endpoint = FakeEndpoint::new(|_| refused());
    endpoint
        .run(async |_| {
            for _ in 0..10 {
                sleep(seconds(600)).await;
                let before = endpoint.calls();
                endpoint.changed.notify_one();
                sleep(seconds(11)).await;
                assert!(
                    endpoint.calls() >= before + 2,
                    "the first wait is longer than 10 s"
                );
            }
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn recovery_takes_one_backoff_step_after_an_outage() {
    let alive = Cell::new(true);
    let endpoint = FakeEndpoint::new(|_| {
        if alive.get() {
            granted("a", 100)
        } else {
            unavailable()
        }
    });
    endpoint
        .run(async |reader| {
            sleep(seconds(10)).await;
            alive.set(false);
            sleep(seconds(300)).await;
            let error = reader.wait().await.unwrap_err();
            assert!(matches!(error, Error::TokenUnavailable { retry_after } if retry_after <= seconds(15)));
            alive.set(true);
            sleep(seconds(15)).await;
            assert_eq!(token(&reader), "Bearer a");
        })
        .await;
}
