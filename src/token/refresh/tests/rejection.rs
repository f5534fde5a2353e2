//! Tokens that the API refuses, and requests that wait for another.

use tokio::time::advance;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_refused_token_is_replaced_once_for_all_who_wait() {
    let endpoint = Endpoint::new(|call| granted(&call.to_string(), 3600)).slow(seconds(1));
    endpoint
        .play(async |reader| {
            sleep(seconds(30)).await;
            let all = (0..50).map(|_| reader.renewed(1));
            assert_eq!(futures_util::future::join_all(all).await, [true; 50]);
            assert_eq!((endpoint.calls(), token(&reader).as_str()), (2, "Bearer 1"));
            // Who comes late with the old one is told of the new one at once.
            assert!(timeout(Duration::ZERO, reader.renewed(1)).await.unwrap());
        })
        .await;
    assert_eq!(endpoint.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_young_token_is_not_replaced_however_often_it_is_refused() {
    let endpoint = Endpoint::new(|call| granted(&call.to_string(), 3600));
    endpoint
        .play(async |reader| {
            for _ in 0..300 {
                sleep(Duration::from_millis(100)).await;
                let bearer = reader.current().unwrap();
                reader.renewed(bearer.generation).await;
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
async fn a_token_endpoint_that_fails_is_not_asked_more_often_because_the_token_is_refused() {
    let endpoint = Endpoint::new(|call| {
        if call == 0 {
            granted("a", 3600)
        } else {
            busy(60)
        }
    });
    endpoint
        .play(async |reader| {
            sleep(seconds(20)).await;
            let told_soon = async || {
                timeout(seconds(2), reader.renewed(1))
                    .await
                    .expect("it waits for nothing")
            };
            assert!(!told_soon().await);
            for _ in 0..50 {
                assert!(!told_soon().await);
                advance(seconds(1)).await;
            }
        })
        .await;
    assert_eq!(endpoint.calls(), 2);
}

/// To be refused by the API is to be without a token, also where the token endpoint had failed
/// before.
#[tokio::test(start_paused = true)]
async fn a_token_that_is_refused_while_the_token_endpoint_fails_is_not_held() {
    let endpoint = Endpoint::new(|call| {
        if call == 0 {
            granted("a", 36_000)
        } else {
            unavailable()
        }
    });
    endpoint
        .play(async |reader| {
            sleep(seconds(20)).await;
            endpoint.changed.notify_one();
            sleep(seconds(200)).await;
            assert!(!reader.renewed(1).await);
            let before = endpoint.calls();
            sleep(seconds(1800)).await;
            let gaps = &endpoint.gaps()[before..];
            assert!(gaps.iter().all(|gap| *gap <= seconds(15)), "{gaps:?}");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn no_more_than_1024_requests_wait() {
    let endpoint = Endpoint::new(|_| granted("a", 3600)).slow(seconds(3));
    endpoint
        .play(async |reader| {
            let began = Instant::now();
            let waits = (0..1030).map(|_| async { (reader.wait().await.is_ok(), began.elapsed()) });
            let told = futures_util::future::join_all(waits).await;
            let (served, shed): (Vec<_>, Vec<_>) = told.into_iter().partition(|(is_ok, _)| *is_ok);
            assert_eq!((served.len(), shed.len()), (1024, 6));
            assert!(shed.iter().all(|(_, after)| after.is_zero()), "{shed:?}");

            sleep(seconds(10)).await;
            let told = futures_util::future::join_all((0..1030).map(|_| reader.renewed(1))).await;
            assert_eq!(told.iter().filter(|is_newer| **is_newer).count(), 1024);
        })
        .await;
}
