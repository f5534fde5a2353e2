//! Set-up of the steps' tests, and the size of a request's future.

use std::time::Duration;

use http::{HeaderValue, Request};
use http_body_util::Full;
use tower::Service;

use super::*;
use crate::config::{Config, Sources, load};
use crate::metrics::Metrics;
use crate::token::TokenReader;
use crate::upstream::{ConnectionLimit, UpstreamClient};

/// A configuration that needs no file, and whose upstream is never reached.
pub(crate) fn config() -> Config {
    let set = [
        "upstream.base_url=http://127.0.0.1:1",
        "token.endpoint=http://127.0.0.1:1",
    ];
    let env = [("GBG_CLIENT_ID", "a"), ("GBG_CLIENT_SECRET", "s")];
    let env = env
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    load(&Sources {
        set: set.map(str::to_owned).into(),
        env,
        file: None,
    })
    .unwrap()
    .config
}

pub(crate) fn policy(config: &Config, tokens: TokenReader) -> Policy {
    let shared = SharedState::new(config, &Metrics::new(1), None);
    Policy::new(
        config,
        &shared,
        tokens,
        &Default::default(),
        &Arc::default(),
    )
}

/// A policy with a token that outlives the test.
pub(crate) async fn policy_with_token(config: &Config) -> Policy {
    let token = HeaderValue::from_static("Bearer test");
    let tokens = crate::token::fixed(token, Duration::from_secs(3600)).await;
    policy(config, tokens.unwrap())
}

/// The future is moved several times for each request and kept for each connection; the part from
/// `retry` on is moved into a box. One async block too many, or a rare state that is not boxed,
/// makes either tens of kilobytes.
#[test]
fn the_future_of_a_request_is_small() {
    let (_publisher, tokens) = crate::token::channel(Duration::from_secs(1), Arc::default());
    let policy = policy(&config(), tokens);
    let upstream = UpstreamClient::<RequestBody<WithContext<Full<Bytes>>>>::new(
        &config().upstream,
        Arc::default(),
        ConnectionLimit::default(),
    )
    .unwrap();
    let forward = forward(Arc::new(upstream));
    let mut service = stack(
        &policy,
        policy.identify(ConnectionInfo::default()),
        forward.clone(),
    );
    let future = service.call(Request::new(Full::default()));
    assert!(
        size_of_val(&future) <= 432,
        "{} bytes",
        size_of_val(&future)
    );
    let req = context::with_context(Request::new(Full::default()));
    let future = retry::send(req, forward, Arc::clone(&policy.retry));
    assert!(
        size_of_val(&future) <= 896,
        "{} bytes",
        size_of_val(&future)
    );
}
