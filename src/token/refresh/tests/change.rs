//! Changes of the client's settings and credentials.

use super::*;

/// A source that has changed until a fetch begins.
struct ChangedBeforeFetch<F> {
    endpoint: FakeEndpoint<F>,
    has_fetched: Cell<bool>,
}

impl<F: Fn(usize) -> FetchResult> TokenSource for ChangedBeforeFetch<F> {
    async fn fetch(&self) -> FetchResult {
        self.has_fetched.set(true);
        self.endpoint.fetch().await
    }

    async fn changed(&self) {
        if self.has_fetched.get() {
            pending::<()>().await;
        }
    }

    fn default_lifetime(&self) -> Duration {
        self.endpoint.default_lifetime()
    }
}

/// `changed` compares with the client of the last fetch, which a new fetch replaces.
#[tokio::test(start_paused = true)]
async fn an_earlier_change_does_not_cancel_a_fetch() {
    for _ in 0..16 {
        let source = ChangedBeforeFetch {
            endpoint: FakeEndpoint::new(|_| granted("a", 100)),
            has_fetched: Cell::new(false),
        };
        let (publisher, reader) = channel(seconds(5), std::sync::Arc::default());
        tokio::select! {
            () = refresh(&source, publisher) => panic!("the refresh task ended"),
            () = sleep(seconds(1) / 2) => assert_eq!(token(&reader), "Bearer a"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn changed_credentials_are_used_at_once() {
    let endpoint = FakeEndpoint::new(|call| granted(["old", "new"][call], 3600)).slow(seconds(2));
    endpoint
        .run(async |reader| {
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
async fn a_change_cancels_the_fetch_in_flight() {
    let endpoint = FakeEndpoint::new(|call| granted(["old", "new"][call], 3600)).slow(seconds(8));
    endpoint
        .run(async |reader| {
            sleep(seconds(4)).await;
            endpoint.changed.notify_one();
            sleep(seconds(60)).await;
            assert_eq!(token(&reader), "Bearer new");
        })
        .await;
    assert_eq!(
        (endpoint.calls(), endpoint.completed.get()),
        (2, 1),
        "the old fetch was not cancelled"
    );
}

#[tokio::test(start_paused = true)]
async fn refused_clients_use_changed_credentials_at_once() {
    let endpoint = FakeEndpoint::new(|call| {
        if call < 6 {
            refused()
        } else {
            granted("new", 3600)
        }
    });
    endpoint
        .run(async |reader| {
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
async fn constantly_changing_credentials_do_not_prevent_a_token() {
    let endpoint = FakeEndpoint::new(|_| granted("a", 3600)).slow(seconds(3));
    endpoint
        .run(async |reader| {
            for _ in 0..10 {
                endpoint.changed.notify_one();
                sleep(seconds(1)).await;
            }
            assert_eq!(token(&reader), "Bearer a");
        })
        .await;
}
