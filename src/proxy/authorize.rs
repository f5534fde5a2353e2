//! Sets the bearer token of a request, as the last change before it is sent: no other step sees the
//! token.

use std::sync::Arc;

use http::Request;
use http::header::{AUTHORIZATION, HeaderMap};
use tokio::time::Instant;

use super::context::RequestContext;
use super::replay::RequestBody;
use crate::error::Error;
use crate::headers::authorization::bearer;
use crate::token::{Bearer, Deadline, TokenReader};

/// A request that may be sent.
#[derive(Debug)]
pub struct Authorized<B> {
    /// Boxed: it changes hands more often than it is read.
    pub req: Box<Request<RequestBody<B>>>,
    pub(super) lease: BearerLease,
}

/// Validity of the bearer that a request carries.
#[derive(Debug)]
pub(super) struct BearerLease {
    /// Generation of the token; `None` for the caller's own bearer.
    pub(super) generation: Option<u64>,
    expires: Option<Deadline>,
    authorizer: Arc<Authorizer>,
    context: Arc<RequestContext>,
}

impl BearerLease {
    /// Replaces a bearer that has expired since, while the request waited for a connection.
    ///
    /// # Errors
    /// `TokenUnavailable` or `ClientRefused` when there is no valid token.
    pub(super) fn refresh_if_expired(&mut self, headers: &mut HeaderMap) -> Result<(), Error> {
        if self.expires.is_some_and(|expires| expires.has_passed()) {
            let tokens = &self.authorizer.tokens;
            let bearer = tokens.current().ok_or_else(|| tokens.error())?;
            headers.insert(AUTHORIZATION, bearer.header);
            self.generation = Some(bearer.generation);
            self.expires = Some(bearer.usable_until);
            self.context.record_generation(bearer.generation);
        }
        Ok(())
    }
}

/// Source of the tokens that requests carry.
#[derive(Debug)]
pub(super) struct Authorizer {
    pub(super) tokens: TokenReader,
}

impl Authorizer {
    /// Waits for a bearer while there is no valid one.
    ///
    /// # Errors
    /// `TokenUnavailable` or `ClientRefused` when none comes within `token.wait_timeout`.
    pub(super) async fn wait(&self, context: &RequestContext) -> Result<Bearer, Error> {
        let start = Instant::now();
        let bearer = self.tokens.wait().await;
        context.record_token_wait(start);
        bearer
    }
}

/// `req` with `bearer`, or with the caller's own; a refreshed one is recorded in `context`.
pub(super) fn authorize<B>(
    mut req: Request<RequestBody<B>>,
    bearer: Option<Bearer>,
    authorizer: &Arc<Authorizer>,
    context: &Arc<RequestContext>,
) -> Authorized<B> {
    let (generation, expires) = match bearer {
        Some(bearer) => {
            req.headers_mut().insert(AUTHORIZATION, bearer.header);
            (Some(bearer.generation), Some(bearer.usable_until))
        }
        None => {
            keep_one_bearer(req.headers_mut());
            (None, None)
        }
    };
    Authorized {
        req: Box::new(req),
        lease: BearerLease {
            generation,
            expires,
            authorizer: Arc::clone(authorizer),
            context: Arc::clone(context),
        },
    }
}

/// Removes Authorization unless there is exactly one, with a bearer token.
fn keep_one_bearer(headers: &mut HeaderMap) {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    if !matches!((values.next(), values.next()), (Some(value), None) if bearer(value).is_some()) {
        headers.remove(AUTHORIZATION);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_a_single_bearer_of_the_caller_passes() {
        let kept = |values: &[&'static str]| {
            let fields = values
                .iter()
                .map(|value| (AUTHORIZATION, HeaderValue::from_static(value)));
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
