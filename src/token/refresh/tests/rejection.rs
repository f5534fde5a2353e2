//! Tokens that the API rejects, and requests that wait for another.

use tokio::time::advance;

use super::*;

#[tokio::test(start_paused = true)]
async fn waiting_requests_share_one_replacement() {
    let endpoint = FakeEndpoint::new(|call| granted(&call.to_string(), 3600)).slow(seconds(1));
    endpoint
        .run(async |reader| {
            sleep(seconds(30)).await;
            let all = (0..50).map(|_| reader.wait_for_newer(1));
            assert_eq!(futures_util::future::join_all(all).await, [true; 50]);
            assert_eq!((endpoint.calls(), token(&reader).as_str()), (2, "Bearer 1"));
            // A late request with the old token gets the new one at once.
            assert!(
                timeout(Duration::ZERO, reader.wait_for_newer(1))
                    .await
                    .unwrap()
            );
        })
        .await;
    assert_eq!(endpoint.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_young_rejected_token_is_not_replaced() {
    let endpoint = FakeEndpoint::new(|call| granted(&call.to_string(), 3600));
    endpoint
        .run(async |reader| {
            for _ in 0..300 {
                sleep(Duration::from_millis(100)).await;
                let bearer = reader.current().unwrap();
                reader.wait_for_newer(bearer.generation).await;
            }
        })
        .await;
    assert!(endpoint.calls() <= 1 + 3, "{:?}", endpoint.starts);
    assert!(
        endpoint.gaps().iter().all(|gap| *gap >= seconds(10)),
        "{:?}",
        endpoint.gaps()
    );
}

#[tokio::test(start_paused = true)]
async fn rejected_tokens_do_not_hurry_failing_fetches() {
    let endpoint = FakeEndpoint::new(|call| {
        if call == 0 {
            granted("a", 3600)
        } else {
            busy(60)
        }
    });
    endpoint
        .run(async |reader| {
            sleep(seconds(20)).await;
            let waited_shortly = async || {
                timeout(seconds(2), reader.wait_for_newer(1))
                    .await
                    .expect("it waits for nothing")
            };
            assert!(!waited_shortly().await);
            for _ in 0..50 {
                assert!(!waited_shortly().await);
                advance(seconds(1)).await;
            }
        })
        .await;
    assert_eq!(endpoint.calls(), 2);
}

/// A rejected token counts as none, even if the token endpoint failed before the rejection.
#[tokio::test(start_paused = true)]
async fn a_rejected_token_is_unusable_while_fetches_fail() {
    let endpoint = FakeEndpoint::new(|call| {
        if call == 0 {
            granted("a", 36_000)
        } else {
            unavailable()
        }
    });
    endpoint
        .run(async |reader| {
            sleep(seconds(20)).await;
            endpoint.changed.notify_one();
            sleep(seconds(200)).await;
            assert!(!reader.wait_for_newer(1).await);
            let before = endpoint.calls();
            sleep(seconds(1800)).await;
            let gaps = &endpoint.gaps()[before..];
            assert!(gaps.iter().all(|gap| *gap <= seconds(15)), "{gaps:?}");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn no_more_than_1024_requests_wait() {
    let endpoint = FakeEndpoint::new(|_| granted("a", 3600)).slow(seconds(3));
    endpoint
        .run(async |reader| {
            let began = Instant::now();
            let waits = (0..1030).map(|_| async { (reader.wait().await.is_ok(), began.elapsed()) });
            let results = futures_util::future::join_all(waits).await;
            let (served, shed): (Vec<_>, Vec<_>) =
                results.into_iter().partition(|(is_ok, _)| *is_ok);
            assert_eq!((served.len(), shed.len()), (1024, 6));
            assert!(shed.iter().all(|(_, after)| after.is_zero()), "{shed:?}");

            sleep(seconds(10)).await;
            let results =
                futures_util::future::join_all((0..1030).map(|_| reader.wait_for_newer(1))).await;
            assert_eq!(results.iter().filter(|is_newer| **is_newer).count(), 1024);
        })
        .await;
}
