//! Sends a request, and decides whether to send it again: the only place that does. A request of
//! which no byte was sent is not sent again: `upstream` moves it to another connection.
//!
//! A request is sent again once at most, and only if the API cannot have acted on it (it rejected
//! the token, or says that it has not processed the request), or if repeating it changes nothing.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::header::AUTHORIZATION;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Body;
use tokio::time::timeout;
use tower::layer::{Layer, layer_fn};
use tower::retry::budget::{Budget, TpsBudget};
use tower::service_fn;

use super::authorize::{Authorized, Authorizer, authorize};
use super::context::{RequestContext, WithContext};
use super::replay::{ReplayBuffer, buffer};
use super::route::BearerOwner;
use super::step::{Forward, Step};
use crate::config::{Config, Limits};
use crate::error::{Error, chain};
use crate::metrics::AccountMetrics;
use crate::token::TokenReader;
use crate::upstream::RequireNewConnection;

/// Longest part of a rejected response that is read so that its connection can be reused; beyond, a
/// new connection is cheaper.
const MAX_DRAINED_BYTES: usize = 64 << 10;
const DRAIN_TIMEOUT: Duration = Duration::from_millis(100);

/// Rules for sending a request again.
#[derive(Debug)]
pub struct RetryPolicy {
    authorizer: Arc<Authorizer>,
    limits: Limits,
    /// Statuses with which the API rejects a token.
    unauthorized: Vec<StatusCode>,
    /// A fifth of the repeatable calls of ten seconds, and ten a second: a broken API does not get
    /// twice the load.
    budget: TpsBudget,
}

/// Reason to send a request again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RetryReason {
    /// The API rejected the proxy's token.
    Unauthorized,
    /// The API has not processed the request.
    NotProcessed,
    /// The connection broke before a response, and the call changes nothing.
    Idempotent,
}

impl RetryPolicy {
    pub(super) fn new(config: &Config, tokens: TokenReader) -> Self {
        RetryPolicy {
            authorizer: Arc::new(Authorizer {
                tokens: tokens.with_wait_timeout(config.token.wait_timeout),
            }),
            limits: config.limits.clone(),
            unauthorized: config.token.retry_statuses.clone(),
            budget: TpsBudget::new(Duration::from_secs(10), 10, 0.2),
        }
    }

    /// The reason to send a request again after `result`; `is_own_bearer` says whether it carried the
    /// proxy's token, not one of the caller.
    fn reason<B>(
        &self,
        result: &Result<Response<B>, Error>,
        is_own_bearer: bool,
        is_safe_to_repeat: bool,
    ) -> Option<RetryReason> {
        match result {
            Ok(res) if is_own_bearer && self.unauthorized.contains(&res.status()) => {
                Some(RetryReason::Unauthorized)
            }
            Err(Error::UpstreamRefused { .. }) => Some(RetryReason::NotProcessed),
            Err(Error::UpstreamClosed(_) | Error::UpstreamBroken(_)) if is_safe_to_repeat => {
                Some(RetryReason::Idempotent)
            }
            _ => None,
        }
    }

    /// Whether the budget lets a request be sent again after `error`.
    fn withdraw(&self, error: &Error) -> bool {
        // An API that shuts a connection down asks for another one. It ends each connection once,
        // which does not multiply its load.
        let is_shutdown = matches!(
            error,
            Error::UpstreamRefused {
                is_shutdown: true,
                ..
            }
        );
        is_shutdown || self.budget.withdraw()
    }
}

/// Sends requests with the proxy's bearer, or the caller's own, and again where `policy` says so.
pub(super) fn layer<S, In, Out>(
    policy: Arc<RetryPolicy>,
) -> impl Layer<S, Service = impl Step<WithContext<In>, Out> + use<S, In, Out>> + Clone
where
    S: Forward<WithContext<In>, Out>,
    In: Body<Data = Bytes> + Unpin + Send + 'static,
    Out: Body<Data = Bytes> + Send + Unpin + 'static,
{
    layer_fn(move |inner: S| {
        let policy = Arc::clone(&policy);
        // Boxed: it holds everything below, and each step above would move it.
        service_fn(move |req| Box::pin(send(req, inner.clone(), Arc::clone(&policy))))
    })
}

/// Sends `req`, and again if the policy says so. Not an `async fn`, which would hold the request
/// twice.
pub(super) fn send<S, In, Out>(
    mut req: Request<WithContext<In>>,
    mut inner: S,
    policy: Arc<RetryPolicy>,
) -> impl Future<Output = Result<Response<Out>, Error>> + Send + use<S, In, Out>
where
    S: Forward<WithContext<In>, Out>,
    In: Body<Data = Bytes> + Unpin + Send + 'static,
    Out: Body<Data = Bytes> + Unpin + Send + 'static,
{
    let context = Arc::clone(req.body().context());
    async move {
        let is_safe_to_repeat = context.route().is_safe_to_repeat;
        if is_safe_to_repeat {
            policy.budget.deposit();
        }
        let authorizer = &policy.authorizer;
        let bearer = match context.route().bearer {
            BearerOwner::Caller => None,
            BearerOwner::Nobody => {
                req.headers_mut().remove(AUTHORIZATION);
                None
            }
            BearerOwner::Proxy => Some(match authorizer.tokens.current() {
                Some(bearer) => bearer,
                // Boxed, like everything rare: each request carries what its future may hold.
                None => Box::pin(authorizer.wait(&context)).await?,
            }),
        };
        let (req, replay) = buffer(req, &policy.limits);
        let is_own_bearer = bearer.is_some();
        let req = authorize(req, bearer, authorizer, &context);
        // By `map`: a local that is borrowed here would be part of the future from then on.
        let sending = attempt(&mut inner, req, &context);
        let (reason, result) = sending
            .map(|result| {
                let reason = policy.reason(&result, is_own_bearer, is_safe_to_repeat);
                (reason, result)
            })
            .await;
        match reason {
            None => result,
            Some(reason) => {
                let replay = replay.filter(|replay| replay.is_complete());
                Box::pin(retry(inner, result, reason, replay, &policy, &context)).await
            }
        }
    }
}

/// Sends the request in `replay` again, or returns `result` where that is not possible.
async fn retry<S, In, Out>(
    mut inner: S,
    result: Result<Response<Out>, Error>,
    reason: RetryReason,
    replay: Option<Arc<ReplayBuffer>>,
    policy: &RetryPolicy,
    context: &Arc<RequestContext>,
) -> Result<Response<Out>, Error>
where
    S: Forward<In, Out>,
    Out: Body<Data = Bytes> + Unpin,
{
    let authorizer = &policy.authorizer;
    let generation = context.generation();
    if let (RetryReason::Unauthorized, Some(generation)) = (reason, generation) {
        authorizer.tokens.record_unauthorized();
        if replay.is_none() {
            // For the next request.
            authorizer.tokens.report_rejected(generation);
        } else if !authorizer.tokens.wait_for_newer(generation).await {
            return result;
        }
    }
    let Some(replay) = replay else { return result };
    if let Err(error) = &result
        && !policy.withdraw(error)
    {
        return result;
    }
    let bearer = authorizer.tokens.current();
    if generation.is_some() && bearer.is_none() {
        return result;
    }
    // Without a generation the request has the caller's own bearer or none, and stays as it is.
    let bearer = bearer.filter(|_| generation.is_some());
    let mut req = replay.replay();
    let account = context.account().map(AccountMetrics::name);
    match result {
        Ok(rejected) => {
            drain(rejected.into_body()).await;
            tracing::debug!(
                account,
                generation,
                "the API rejected the access token; sending the request again"
            );
        }
        Err(error) => {
            tracing::debug!(account, error = chain(&error), "sending the request again");
            if reason == RetryReason::Idempotent {
                // The other pooled connections may be dead for the same reason: use a new one.
                req.extensions_mut().insert(RequireNewConnection);
            }
        }
    }
    attempt(
        &mut inner,
        authorize(req, bearer, authorizer, context),
        context,
    )
    .await
}

/// Sends `req`, and records the attempt and its result. Not an `async fn`, which would hold the
/// request twice.
fn attempt<'c, S, In, Out>(
    inner: &mut S,
    mut req: Authorized<In>,
    context: &'c RequestContext,
) -> impl Future<Output = Result<Response<Out>, Error>> + Send + use<'c, S, In, Out>
where
    S: Forward<In, Out>,
{
    context.record_attempt(req.lease.generation, req.req.headers_mut());
    inner
        .call(req)
        .inspect(|result| context.record_result(result))
}

/// Reads the rest of a short response, so that its connection can be reused.
async fn drain<B: Body<Data = Bytes> + Unpin>(mut body: B) {
    let mut left = MAX_DRAINED_BYTES;
    let read = async {
        while let Some(Ok(frame)) = body.frame().await {
            match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    let _ = timeout(DRAIN_TIMEOUT, read).await;
}

#[cfg(test)]
mod tests;
