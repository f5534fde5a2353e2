//! Tests of the channel between the refresh task and the requests.

use http::{HeaderValue, StatusCode};

use super::*;

fn bearer(generation: u64, lifetime: Duration) -> Bearer {
    let mut header = HeaderValue::from_static("Bearer abc");
    header.set_sensitive(true);
    Bearer::new(header, generation, Deadline::now() + lifetime)
}

fn publish(publisher: &TokenPublisher, bearer: Bearer) {
    publisher.publish(bearer, Duration::ZERO);
}

fn fail(publisher: &TokenPublisher) {
    publisher.publish_failure(
        &FetchError::Broken("a.example:443".into()),
        Duration::ZERO,
        Deadline::now(),
    );
}

#[tokio::test(start_paused = true)]
async fn the_current_bearer_is_the_last_published() {
    let (publisher, reader) = channel(Duration::from_secs(5), Arc::default());
    assert!(reader.current().is_none());
    publish(&publisher, bearer(1, Duration::from_secs(10)));
    let other = reader.clone();
    assert_eq!(reader.current().unwrap().generation, 1);
    publish(&publisher, bearer(2, Duration::from_secs(10)));
    assert_eq!(
        (
            reader.current().unwrap().generation,
            other.current().unwrap().generation
        ),
        (2, 2)
    );
    fail(&publisher);
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
async fn waiting_ends_with_token_timeout_or_refusal() {
    let (publisher, reader) = channel(Duration::from_secs(5), Arc::default());
    let began = Instant::now();
    assert!(matches!(
        reader.wait().await,
        Err(Error::TokenUnavailable { .. })
    ));
    assert_eq!(began.elapsed(), Duration::from_secs(5));

    let publish = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        publish(&publisher, bearer(1, Duration::from_secs(10)));
    };
    let (waited, ()) = tokio::join!(reader.wait(), publish);
    assert_eq!(waited.unwrap().generation, 1);

    tokio::time::advance(Duration::from_secs(60)).await;
    publisher.publish_failure(
        &FetchError::Refused {
            status: StatusCode::UNAUTHORIZED,
            code: None,
            retry_after: None,
        },
        Duration::ZERO,
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
async fn an_expired_bearer_is_dropped() {
    let (publisher, reader) = channel(Duration::from_secs(5), Arc::default());
    publish(&publisher, bearer(1, Duration::from_secs(10)));
    assert!(reader.current().is_some());
    let is_kept = || reader.cache.lock().bearer.is_some();
    fail(&publisher);
    assert!(publisher.state.borrow().bearer.is_some() && is_kept());
    tokio::time::advance(Duration::from_secs(10)).await;
    fail(&publisher);
    assert!(publisher.state.borrow().bearer.is_none());
    assert!(reader.current().is_none() && !is_kept());
}

#[tokio::test]
async fn a_bearer_is_not_printed() {
    let (publisher, reader) = channel(Duration::from_secs(1), Arc::default());
    publish(&publisher, bearer(1, Duration::from_secs(10)));
    let text = format!("{publisher:?} {:?} {reader:?}", reader.current());
    assert!(!text.contains("abc"), "{text}");
}

#[tokio::test]
async fn last_fetch_and_last_failure_are_reported() {
    let (publisher, reader) = channel(Duration::from_secs(1), Arc::default());
    assert!(reader.last_fetch().is_none());
    fail(&publisher);
    publish(&publisher, bearer(1, Duration::from_secs(10)));
    assert!(reader.last_fetch().unwrap().failure.is_none());
    let failed = reader.last_failed_fetch().unwrap();
    let failure = failed.failure.unwrap();
    assert_eq!(failure.kind, FetchErrorKind::Broken);
    assert_eq!(
        &*failure.cause,
        "the connection to the token endpoint was lost: a.example:443"
    );
}
