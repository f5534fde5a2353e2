//! A client that is another one, or asks otherwise.

use super::*;

/// What `changed` tells is what the client that asked last does not have, and the fetch makes it
/// the one that asks.
#[tokio::test(start_paused = true)]
async fn a_change_from_before_a_fetch_does_not_end_it() {
    for _ in 0..16 {
        let endpoint = Endpoint::new(|_| granted("a", 100));
        let asked = Cell::new(0);
        let fetch = || {
            let (fetched, asked) = (endpoint.fetch(), &asked);
            async move {
                asked.set(1);
                fetched.await
            }
        };
        let changed = async || {
            if asked.get() == 1 {
                pending::<()>().await;
            }
        };
        let (publisher, reader) = channel(seconds(5), std::sync::Arc::default());
        tokio::select! {
            () = refresh(fetch, changed, publisher, || seconds(300)) => panic!("the refresh task ended"),
            () = sleep(seconds(1) / 2) => assert_eq!(token(&reader), "Bearer a"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn changed_credentials_are_tried_at_once_and_the_token_stays_until_they_are_granted_one() {
    let endpoint = Endpoint::new(|call| granted(["old", "new"][call], 3600)).slow(seconds(2));
    endpoint
        .play(async |reader| {
            sleep(seconds(10)).await;
            endpoint.changed.notify_one();
            sleep(seconds(1)).await;
            assert_eq!(
                (endpoint.calls(), token(&reader).as_str()),
                (2, "Bearer old")
            );
            sleep(seconds(2)).await;
            assert_eq!(token(&reader), "Bearer new");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn an_old_fetch_in_flight_does_not_overwrite_the_token_of_changed_credentials() {
    let endpoint = Endpoint::new(|call| granted(["old", "new"][call], 3600)).slow(seconds(8));
    endpoint
        .play(async |reader| {
            sleep(seconds(4)).await;
            endpoint.changed.notify_one();
            sleep(seconds(60)).await;
            assert_eq!(token(&reader), "Bearer new");
        })
        .await;
    assert_eq!(
        (endpoint.calls(), endpoint.answered.get()),
        (2, 1),
        "the old fetch was not given up"
    );
}

#[tokio::test(start_paused = true)]
async fn changed_credentials_are_tried_at_once_also_after_a_refusal() {
    let endpoint = Endpoint::new(|call| {
        if call < 6 {
            refused()
        } else {
            granted("new", 3600)
        }
    });
    endpoint
        .play(async |reader| {
            while endpoint.calls() < 6 {
                sleep(seconds(1)).await;
            }
            endpoint.changed.notify_one();
            sleep(seconds(2)).await;
            assert_eq!(token(&reader), "Bearer new");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn credentials_that_change_all_the_time_do_not_keep_a_token_from_coming() {
    let endpoint = Endpoint::new(|_| granted("a", 3600)).slow(seconds(3));
    endpoint
        .play(async |reader| {
            for _ in 0..10 {
                endpoint.changed.notify_one();
                sleep(seconds(1)).await;
            }
            assert_eq!(token(&reader), "Bearer a");
        })
        .await;
}
