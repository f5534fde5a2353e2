//! Tests of the handles between the refresh task and the requests.

use super::*;

fn bearer(generation: u64, life: Duration) -> Bearer {
    let mut header = HeaderValue::from_static("Bearer abc");
    header.set_sensitive(true);
    Bearer::new(header, generation, Deadline::now() + life)
}

#[tokio::test(start_paused = true)]
async fn the_current_bearer_is_the_last_published_and_never_an_expired_one() {
    let (publisher, reader) = channel(Duration::from_secs(5), Arc::default());
    assert!(reader.current().is_none());
    publisher.publish(bearer(1, Duration::from_secs(10)));
    let other = reader.clone();
    assert_eq!(reader.current().unwrap().generation, 1);
    publisher.publish(bearer(2, Duration::from_secs(10)));
    assert_eq!(
        (
            reader.current().unwrap().generation,
            other.current().unwrap().generation
        ),
        (2, 2)
    );
    publisher.publish_failure(Failure::Unavailable, Deadline::now());
    assert_eq!(reader.current().unwrap().generation, 2);
    assert_eq!(reader.clone().current().unwrap().generation, 2);
    tokio::time::advance(Duration::from_secs(10)).await;
    assert!(reader.current().is_none());
    assert!(publisher.serves_until().is_none());
    let Error::TokenUnavailable { retry_after } = reader.error() else {
        panic!("the client is not refused")
    };
    assert_eq!(
        retry_after,
        Duration::from_secs(1),
        "at once would be a loop"
    );
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_with_the_token_with_the_deadline_or_with_a_refusal() {
    let (publisher, reader) = channel(Duration::from_secs(5), Arc::default());
    let began = Instant::now();
    assert!(matches!(
        reader.wait().await,
        Err(Error::TokenUnavailable { .. })
    ));
    assert_eq!(began.elapsed(), Duration::from_secs(5));

    let publish = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        publisher.publish(bearer(1, Duration::from_secs(10)));
    };
    let (waited, ()) = tokio::join!(reader.wait(), publish);
    assert_eq!(waited.unwrap().generation, 1);

    tokio::time::advance(Duration::from_secs(60)).await;
    publisher.publish_failure(
        Failure::ClientRefused,
        Deadline::now() + Duration::from_secs(30),
    );
    let began = Instant::now();
    let refused = reader.wait().await.unwrap_err();
    let Error::ClientRefused { retry_after } = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(
        (began.elapsed(), retry_after),
        (Duration::ZERO, Duration::from_secs(30))
    );
}

#[tokio::test(start_paused = true)]
async fn an_expired_bearer_is_not_kept() {
    let (publisher, reader) = channel(Duration::from_secs(5), Arc::default());
    publisher.publish(bearer(1, Duration::from_secs(10)));
    assert!(reader.current().is_some());
    let is_kept = || reader.local.lock().unwrap().bearer.is_some();
    publisher.publish_failure(Failure::Unavailable, Deadline::now());
    assert!(publisher.sender.borrow().bearer.is_some() && is_kept());
    tokio::time::advance(Duration::from_secs(10)).await;
    publisher.publish_failure(Failure::Unavailable, Deadline::now());
    assert!(publisher.sender.borrow().bearer.is_none());
    assert!(reader.current().is_none() && !is_kept());
}

#[tokio::test]
async fn a_bearer_is_not_printed() {
    let (publisher, reader) = channel(Duration::from_secs(1), Arc::default());
    publisher.publish(bearer(1, Duration::from_secs(10)));
    let text = format!("{publisher:?} {:?} {reader:?}", reader.current());
    assert!(!text.contains("abc"), "{text}");
}
