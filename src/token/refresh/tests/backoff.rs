//! The pauses between fetches: their least, how they grow, and Retry-After.

use super::*;

#[tokio::test(start_paused = true)]
async fn two_fetches_are_never_closer_than_a_second_whatever_happens() {
    let answers: [fn(usize) -> Answer; 4] = [
        |_| granted("a", 1),
        |_| unavailable(),
        |_| busy(0),
        |call| granted(&call.to_string(), 20),
    ];
    for answer in answers {
        let endpoint = Endpoint::new(answer);
        let stir = async |reader: Reader| {
            for _ in 0..600 {
                sleep(Duration::from_millis(100)).await;
                endpoint.changed.notify_one();
                if let Some(bearer) = reader.current() {
                    let _ =
                        timeout(Duration::from_millis(1), reader.renewed(bearer.generation)).await;
                }
            }
        };
        endpoint.play(stir).await;
        assert!(endpoint.calls() > 1);
        assert!(
            endpoint.gaps().iter().all(|gap| *gap >= LEAST_PAUSE),
            "{:?}",
            endpoint.gaps()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_client_is_tried_seldom_also_as_its_token_ends() {
    let endpoint = Endpoint::new(|call| {
        if call == 0 {
            granted("a", 100)
        } else {
            refused()
        }
    });
    endpoint.play(async |_| sleep(seconds(600)).await).await;
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
async fn a_refused_client_is_told_at_once_and_when_to_come_again() {
    let endpoint = Endpoint::new(|_| refused());
    let error = endpoint.play(async |reader| {
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
    let endpoint = Endpoint::new(|call| match call {
        0 | 1 => busy(120),
        2 => refused_for(120),
        _ => granted("a", 100),
    });
    endpoint.play(async |_| sleep(seconds(400)).await).await;
    assert_eq!(&endpoint.gaps()[..3], [seconds(120); 3]);
}

/// `Retry-After: 0`, or a date that is past by a clock which is off.
#[tokio::test(start_paused = true)]
async fn a_retry_after_of_nothing_does_not_do_away_with_the_backoff() {
    let endpoint = Endpoint::new(|_| busy(0));
    endpoint.play(async |_| sleep(seconds(300)).await).await;
    assert!(
        endpoint.calls() < 100,
        "{} calls in 300 s",
        endpoint.calls()
    );
    let endpoint = Endpoint::new(|call| {
        let retry_after = Some(seconds((call % 2) as u64));
        Err(FetchError::Refused {
            status: StatusCode::UNAUTHORIZED,
            code: None,
            retry_after,
        })
    });
    endpoint.play(async |_| sleep(seconds(300)).await).await;
    assert!(
        endpoint.gaps().iter().all(|gap| *gap >= seconds(5)),
        "{:?}",
        endpoint.gaps()
    );
}

#[tokio::test(start_paused = true)]
async fn the_backoff_begins_anew_after_a_grant_and_with_changed_credentials() {
    let endpoint = Endpoint::new(|call| {
        if call % 7 == 0 {
            granted("a", 1000)
        } else {
            unavailable()
        }
    });
    endpoint.play(async |_| sleep(seconds(3600)).await).await;
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

    let endpoint = Endpoint::new(|_| refused());
    endpoint
        .play(async |_| {
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
async fn an_endpoint_that_is_dead_for_three_lives_is_healed_within_one_backoff_step() {
    let alive = Cell::new(true);
    let endpoint = Endpoint::new(|_| {
        if alive.get() {
            granted("a", 100)
        } else {
            unavailable()
        }
    });
    endpoint
        .play(async |reader| {
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
