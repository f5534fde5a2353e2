//! Retries with an API and a token endpoint of the test's own, and a paused clock.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::join_all;
use http::HeaderValue;
use http::header::AUTHORIZATION;
use http_body_util::{BodyExt, Empty, Full};
use tokio::time::{advance, sleep};
use tower::ServiceExt;

use super::*;
use crate::config::{Sources, load};
use crate::proxy::context::with_context;
use crate::proxy::replay::RequestBody;
use crate::token::{FetchError, TokenResponse, TokenSource, channel, refresh};

type NoBody = Empty<Bytes>;
type Text = Full<Bytes>;

/// An API that takes one token alone, and a token endpoint whose n-th call grants `token-n`, after
/// a second.
struct World {
    policy: Arc<RetryPolicy>,
    fetches: Arc<AtomicU64>,
    api: Arc<Api>,
}

/// A source that grants `token-n` for its n-th fetch, after a second.
struct NumberedTokens {
    fetches: Arc<AtomicU64>,
}

impl TokenSource for NumberedTokens {
    async fn fetch(&self) -> Result<TokenResponse, FetchError> {
        let number = self.fetches.fetch_add(1, Ordering::SeqCst) + 1;
        sleep(Duration::from_secs(1)).await;
        Ok(TokenResponse {
            header: HeaderValue::try_from(format!("Bearer token-{number}")).unwrap(),
            lifetime: Some(Duration::from_secs(3600)),
        })
    }

    async fn changed(&self) {
        pending().await
    }

    fn default_lifetime(&self) -> Duration {
        Duration::from_secs(300)
    }
}

struct Api {
    /// The tokens below this number are revoked.
    valid_from: AtomicU64,
    refusal: StatusCode,
    /// Each body that came, with the token that it came with.
    seen: Mutex<Vec<(String, String)>>,
}

impl Api {
    async fn answer(
        &self,
        req: Request<RequestBody<WithContext<Text>>>,
    ) -> Result<Response<Text>, Error> {
        let (head, body) = req.into_parts();
        let token = head.headers[AUTHORIZATION].to_str().unwrap().to_owned();
        let body = body.collect().await.unwrap().to_bytes();
        self.seen
            .lock()
            .unwrap()
            .push((token.clone(), String::from_utf8(body.to_vec()).unwrap()));
        let number: Option<u64> = token
            .strip_prefix("Bearer token-")
            .and_then(|number| number.parse().ok());
        let is_taken =
            number.is_some_and(|number| number >= self.valid_from.load(Ordering::SeqCst));
        let status = if is_taken {
            StatusCode::OK
        } else {
            self.refusal
        };
        Ok(Response::builder()
            .status(status)
            .body(Full::from(format!("{status} for {token}")))
            .unwrap())
    }

    fn seen_with(&self, token: &str) -> usize {
        self.seen
            .lock()
            .unwrap()
            .iter()
            .filter(|(seen, _)| seen == token)
            .count()
    }
}

impl World {
    /// The token of the world is a minute old.
    async fn begin(refusal: StatusCode, set: &[&str]) -> World {
        let (publisher, tokens) = channel(Duration::from_secs(5), Arc::default());
        let fetches = Arc::new(AtomicU64::new(0));
        let source = NumberedTokens {
            fetches: Arc::clone(&fetches),
        };
        tokio::spawn(async move { refresh(&source, publisher).await });
        let plain = [
            "upstream.base_url=http://127.0.0.1:1",
            "token.endpoint=http://127.0.0.1:1",
        ];
        let env = [("GBG_CLIENT_ID", "a"), ("GBG_CLIENT_SECRET", "s")];
        let config = load(&Sources {
            set: plain.iter().chain(set).map(|&set| set.to_owned()).collect(),
            env: BTreeMap::from(env.map(|(name, value)| (name.to_owned(), value.to_owned()))),
            file: None,
        });
        let policy = Arc::new(RetryPolicy::new(&config.unwrap().config, tokens.clone()));
        let api = Api {
            valid_from: AtomicU64::new(1),
            refusal,
            seen: Mutex::default(),
        };
        tokens.wait().await.unwrap();
        advance(Duration::from_secs(60)).await;
        World {
            policy,
            fetches,
            api: Arc::new(api),
        }
    }

    fn revoke(&self) {
        self.api.valid_from.fetch_add(1, Ordering::SeqCst);
    }

    async fn send(&self, req: Request<Text>) -> (StatusCode, String) {
        let api = Arc::clone(&self.api);
        let leaf = service_fn(move |authorized: Authorized<WithContext<Text>>| {
            let api = Arc::clone(&api);
            async move { api.answer(*authorized.req).await }
        });
        let res = layer(Arc::clone(&self.policy))
            .layer(leaf)
            .oneshot(with_context(req))
            .await
            .unwrap();
        let status = res.status();
        let body = res.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn post(&self, body: &str) -> (StatusCode, String) {
        self.send(
            Request::post("/v2/captain/x")
                .body(Full::from(body.to_owned()))
                .unwrap(),
        )
        .await
    }

    fn fetches(&self) -> u64 {
        self.fetches.load(Ordering::SeqCst)
    }
}

/// Without a token nothing is forwarded, whatever the caller sent.
#[tokio::test(start_paused = true)]
async fn nothing_is_forwarded_without_a_token() {
    let (_publisher, tokens) = channel(Duration::from_secs(5), Arc::default());
    let policy = Arc::new(RetryPolicy::new(&crate::proxy::tests::config(), tokens));
    let leaf = service_fn(
        async |_: Authorized<WithContext<NoBody>>| -> Result<Response<NoBody>, Error> {
            panic!("it was forwarded")
        },
    );
    let req = Request::builder()
        .uri("/x")
        .header(AUTHORIZATION, "Bearer mine")
        .body(NoBody::new())
        .unwrap();
    let answer: Result<Response<NoBody>, Error> =
        layer(policy).layer(leaf).oneshot(with_context(req)).await;
    assert!(matches!(answer, Err(Error::TokenUnavailable { .. })));
}

#[tokio::test(start_paused = true)]
async fn rejected_requests_are_resent_with_one_new_token() {
    let world = World::begin(StatusCode::UNAUTHORIZED, &[]).await;
    world.revoke();
    let statuses = join_all((0..50).map(|number| {
        let world = &world;
        async move { world.post(&format!("body {number}")).await.0 }
    }));
    assert_eq!(statuses.await, [StatusCode::OK; 50]);
    assert_eq!(world.fetches(), 2);
    let mut bodies: Vec<_> = world.api.seen.lock().unwrap().drain(..).collect();
    bodies.sort();
    let (first, second) = bodies.split_at(50);
    assert!(
        first.iter().all(|(token, _)| token == "Bearer token-1"),
        "{first:?}"
    );
    assert!(
        second.iter().all(|(token, _)| token == "Bearer token-2"),
        "{second:?}"
    );
    let texts = |part: &[(String, String)]| {
        part.iter()
            .map(|(_, body)| body.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(texts(first), texts(second));
}

#[tokio::test(start_paused = true)]
async fn persistent_401s_cause_two_token_fetches_at_most() {
    let world = World::begin(StatusCode::UNAUTHORIZED, &[]).await;
    world.api.valid_from.store(u64::MAX, Ordering::SeqCst);
    for _ in 0..500 {
        let (status, body) = world.post("x").await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        assert!(
            body.starts_with("401 Unauthorized for Bearer token-"),
            "{body}"
        );
        sleep(Duration::from_millis(19)).await;
    }
    assert!(world.fetches() <= 1 + 2, "{}", world.fetches());
    assert!(
        world.api.seen.lock().unwrap().len() <= 502,
        "more than the requests in flight were sent again"
    );
}

#[tokio::test(start_paused = true)]
async fn a_body_beyond_the_buffer_is_not_resent() {
    let world = World::begin(StatusCode::UNAUTHORIZED, &["limits.max_replay_body=10B"]).await;
    world.revoke();
    assert_eq!(
        world.post("0123456789x").await.1,
        "401 Unauthorized for Bearer token-1"
    );
    assert_eq!(world.api.seen_with("Bearer token-2"), 0);
    assert_eq!(
        world.post("0123456789").await.1,
        "200 OK for Bearer token-2"
    );
}

/// Photos of documents are longer than the buffer: a caller that sends nothing else must not wait
/// for the token to expire.
#[tokio::test(start_paused = true)]
async fn a_rejected_long_body_refreshes_the_token() {
    let world = World::begin(StatusCode::UNAUTHORIZED, &["limits.max_replay_body=10B"]).await;
    world.revoke();
    for _ in 0..3 {
        assert_eq!(
            world.post("0123456789x").await.1,
            "401 Unauthorized for Bearer token-1"
        );
    }
    sleep(Duration::from_secs(2)).await;
    assert_eq!(
        world.post("0123456789x").await.1,
        "200 OK for Bearer token-2"
    );
    assert_eq!(world.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_rejection_before_the_bodys_end_is_forwarded() {
    let world = World::begin(StatusCode::UNAUTHORIZED, &[]).await;
    let leaf = service_fn(
        async |_: Authorized<WithContext<Text>>| -> Result<Response<Text>, Error> {
            Ok(Response::builder()
                .status(StatusCode::UNAUTHORIZED)
                .body(Full::default())
                .unwrap())
        },
    );
    let req = Request::post("/v2/captain/x")
        .body(Full::from("never read"))
        .unwrap();
    let res = layer(Arc::clone(&world.policy))
        .layer(leaf)
        .oneshot(with_context(req))
        .await
        .unwrap();
    assert_eq!(res.status(), StatusCode::UNAUTHORIZED);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(world.fetches(), 2, "no new token was asked for");
}

#[tokio::test(start_paused = true)]
async fn only_configured_statuses_reject_a_token() {
    let world = World::begin(StatusCode::FORBIDDEN, &[]).await;
    world.revoke();
    assert_eq!(world.post("x").await.0, StatusCode::FORBIDDEN);
    assert_eq!(world.fetches(), 1);
    let world = World::begin(StatusCode::FORBIDDEN, &["token.retry_statuses=[401, 403]"]).await;
    world.revoke();
    assert_eq!(world.post("x").await.0, StatusCode::OK);
    let world = World::begin(StatusCode::UNAUTHORIZED, &["token.retry_statuses=[]"]).await;
    world.revoke();
    assert_eq!(world.post("x").await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test(start_paused = true)]
async fn a_callers_own_bearer_is_sent_once() {
    let world = World::begin(StatusCode::UNAUTHORIZED, &[]).await;
    let req =
        Request::post("/v2/captain/journey/device/connect").header(AUTHORIZATION, "Bearer connect");
    let (status, _) = world.send(req.body(Full::from("x")).unwrap()).await;
    assert_eq!((status, world.fetches()), (StatusCode::UNAUTHORIZED, 1));
    assert_eq!(world.api.seen_with("Bearer connect"), 1);
    assert_eq!(world.api.seen.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_bearer_that_expires_before_sending_is_replaced() {
    let world = World::begin(StatusCode::UNAUTHORIZED, &[]).await;
    let leaf = service_fn(
        async |Authorized { mut req, mut lease }: Authorized<WithContext<Text>>| {
            lease.refresh_if_expired(req.headers_mut())?;
            assert_eq!(req.headers()[AUTHORIZATION], "Bearer token-1");
            sleep(Duration::from_secs(3600)).await;
            lease.refresh_if_expired(req.headers_mut())?;
            assert_eq!(req.headers()[AUTHORIZATION], "Bearer token-2");
            Ok::<_, Error>(Response::new(Text::default()))
        },
    );
    let req = Request::post("/v2/captain/x")
        .body(Text::default())
        .unwrap();
    layer(Arc::clone(&world.policy))
        .layer(leaf)
        .oneshot(with_context(req))
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_rejected_token_is_never_sent_twice() {
    let world = World::begin(StatusCode::UNAUTHORIZED, &[]).await;
    world.api.valid_from.store(3, Ordering::SeqCst);
    let api = Arc::clone(&world.api);
    let leaf = service_fn(
        move |Authorized { mut req, mut lease }: Authorized<WithContext<Text>>| {
            let api = Arc::clone(&api);
            async move {
                if req.headers()[AUTHORIZATION] == "Bearer token-1" {
                    // Waits for a connection, until token-2 has come and has served for a while.
                    sleep(Duration::from_secs(3600)).await;
                }
                lease.refresh_if_expired(req.headers_mut())?;
                api.answer(*req).await
            }
        },
    );
    let req = Request::post("/v2/captain/x")
        .body(Text::default())
        .unwrap();
    let res = layer(Arc::clone(&world.policy))
        .layer(leaf)
        .oneshot(with_context(req))
        .await
        .unwrap();
    assert_eq!(res.status(), StatusCode::OK);
    let sent = |token| world.api.seen_with(token);
    assert_eq!((sent("Bearer token-2"), sent("Bearer token-3")), (1, 1));
}
