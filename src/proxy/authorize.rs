//! Puts our bearer on a request, as the last thing that happens to it. What the caller sent as Authorization goes.

use std::sync::Arc;

use http::Request;
use http::header::{AUTHORIZATION, HeaderMap};
use tokio::time::Instant;
use tower::layer::{Layer, layer_fn};
use tower::service_fn;

use super::{Forward, Step};
use crate::config::{self, Path};
use crate::token::Reader;

/// A request that may be sent.
#[derive(Debug)]
pub struct Authorized<B> {
    /// With its one Authorization, or none.
    pub req: Request<B>,
    /// From here on its bearer is not sent: a connection may take seconds to open. `None` where the bearer is not ours.
    pub until: Option<Instant>,
}

/// Whose bearer a request carries.
#[derive(Debug)]
pub(super) struct Rules {
    caller_bearer: Vec<Path>,
    tokens: Reader,
}

impl Rules {
    pub(super) fn new(config: &config::Upstream, tokens: Reader) -> Self {
        Rules { caller_bearer: config.caller_bearer.clone(), tokens }
    }

    /// Whether the caller's own bearer is the credential on `path`.
    fn is_callers(&self, path: &str) -> bool {
        self.caller_bearer.iter().any(|known| known.as_str() == path)
    }
}

/// Replaces Authorization by our bearer. Waits only while there is no valid one.
pub(super) fn layer<S, In, Out>(
    rules: Arc<super::Rules>,
) -> impl Layer<S, Service = impl Step<In, Out> + use<S, In, Out>> + Clone
where
    S: Forward<In, Out>,
    In: Send + 'static,
    Out: Send + 'static,
{
    layer_fn(move |inner: S| {
        let rules = Arc::clone(&rules);
        service_fn(move |mut req: Request<In>| {
            let rules = Arc::clone(&rules);
            let mut inner = inner.clone();
            async move {
                let rules = &rules.authorize;
                let until = if rules.is_callers(req.uri().path()) {
                    keep_one_bearer(req.headers_mut());
                    None
                } else {
                    let bearer = match rules.tokens.current() {
                        Some(bearer) => bearer,
                        // Boxed, like all that is rare: what a future may hold, each request carries about.
                        None => Box::pin(rules.tokens.wait()).await?,
                    };
                    req.headers_mut().insert(AUTHORIZATION, bearer.header);
                    Some(bearer.stop)
                };
                inner.call(Authorized { req, until }).await
            }
        })
    })
}

/// Removes Authorization unless there is exactly one, and it is a bearer's.
fn keep_one_bearer(headers: &mut HeaderMap) {
    let mut found = headers.get_all(AUTHORIZATION).iter();
    let is_bearer =
        |value: &[u8]| value.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer "));
    if !matches!((found.next(), found.next()), (Some(value), None) if is_bearer(value.as_bytes())) {
        headers.remove(AUTHORIZATION);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{HeaderValue, Response};
    use tower::ServiceExt;

    use super::*;
    use crate::error::Error;
    use crate::token::channel;

    /// Without a token nothing is forwarded, whatever the caller sent.
    #[tokio::test(start_paused = true)]
    async fn nothing_is_forwarded_without_a_token() {
        let (_publisher, tokens) = channel(Duration::from_secs(5));
        let rules = Arc::new(crate::proxy::Rules::new(&crate::proxy::tests::config(), tokens));
        let leaf =
            service_fn(async |_: Authorized<()>| -> Result<Response<()>, Error> { panic!("forwarded") });
        let req = Request::builder().uri("/x").header(AUTHORIZATION, "Bearer mine").body(()).unwrap();
        let answer: Result<Response<()>, Error> = layer(rules).layer(leaf).oneshot(req).await;
        assert!(matches!(answer, Err(Error::TokenUnavailable)));
    }

    #[test]
    fn the_callers_bearer_passes_where_it_is_gbgs_own_and_nothing_else_does() {
        let kept = |values: &[&'static str]| {
            let fields = values.iter().map(|value| (AUTHORIZATION, HeaderValue::from_static(value)));
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(name, value);
            }
            keep_one_bearer(&mut headers);
            headers.len()
        };
        assert_eq!(kept(&["bearer t"]), 1);
        assert_eq!(kept(&["Basic t"]), 0);
        assert_eq!(kept(&["Bearer t", "Bearer u"]), 0);
        assert_eq!(kept(&["Bear"]), 0);
        assert_eq!(kept(&[]), 0);
    }
}
