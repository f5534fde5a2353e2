//! Permits, from admission to the end of the response.

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full};
use tower::ServiceExt;

use super::*;
use crate::proxy::access_log::ObservedBody;
use crate::proxy::authorize::Authorized;
use crate::proxy::connection::ConnectionInfo;
use crate::proxy::context::{Failure, with_context};
use crate::proxy::stack;
use crate::proxy::tests::{config, policy, policy_with_token};

type TestResponse = Response<ObservedBody<Full<Bytes>>>;

/// The stack with one permit in all and a queue of `queue`; each response has a body.
async fn one_permit(
    queue: usize,
) -> impl Step<Empty<Bytes>, ObservedBody<Full<Bytes>>, std::convert::Infallible> {
    let mut config = config();
    config.limits.max_in_flight = std::num::NonZeroU32::MIN;
    config.limits.queue = queue;
    let policy = policy_with_token(&config).await;
    let respond = |_: Authorized<WithContext<Empty<Bytes>>>| async {
        Ok::<_, Error>(Response::new(Full::<Bytes>::from("body")))
    };
    stack(
        &policy,
        policy.identify(ConnectionInfo::default()),
        service_fn(respond),
    )
}

fn request() -> Request<Empty<Bytes>> {
    Request::get("/v2/captain/x")
        .header("host", "localhost")
        .body(Empty::new())
        .unwrap()
}

fn reason(res: &TestResponse) -> Option<&'static str> {
    let reason = res
        .extensions()
        .get::<Failure>()
        .map(|failure| failure.reason);
    reason.map(|reason| reason.name)
}

#[tokio::test]
async fn the_end_of_the_body_releases_the_permit() {
    let service = one_permit(0).await;
    let call = async || service.clone().oneshot(request()).await.unwrap();
    let mut body = call().await.into_body();
    assert_eq!(reason(&call().await), Some("overloaded"));
    while body.frame().await.is_some() {}
    let second = call().await;
    assert_eq!(reason(&second), None);
    assert_eq!(reason(&call().await), Some("overloaded"));
    drop(second);
    assert_eq!(reason(&call().await), None);
}

#[tokio::test(start_paused = true)]
async fn a_queued_request_holds_its_permit_as_long() {
    let service = one_permit(1).await;
    let call = || service.clone().oneshot(request());
    let first = call().await.unwrap();
    let queued = tokio::spawn(call());
    tokio::task::yield_now().await;
    drop(first);
    let mut body = queued.await.unwrap().unwrap().into_body();
    assert_eq!(
        reason(&call().await.unwrap()),
        Some("overloaded"),
        "the permit is free before the body is sent"
    );
    while body.frame().await.is_some() {}
    assert_eq!(reason(&call().await.unwrap()), None);
}

/// A stack in another order would pass callers that are not authenticated.
#[tokio::test]
async fn an_unauthenticated_request_is_rejected() {
    let (_publisher, tokens) =
        crate::token::channel(std::time::Duration::from_secs(1), Arc::default());
    let policy = policy(&config(), tokens);
    let respond = |_| async { Ok::<_, Error>(Response::new(Full::<Bytes>::from("body"))) };
    let service = layer(Arc::clone(&policy.limiter)).layer(service_fn(respond));
    let req = with_context(Request::new(Empty::<Bytes>::new()));
    assert!(matches!(
        service.oneshot(req).await,
        Err(Error::CallerUnknown(_))
    ));
}
