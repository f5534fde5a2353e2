//! Limits: the rate and concurrency of each caller, then the concurrency of the process.
//!
//! A request beyond a caller's limits is rejected at once. An accepted request holds its permit until
//! the body of its response ends.

pub(super) mod admission;
pub(super) mod permit;
pub(super) mod quota;

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{Either, ready};
use http::{Request, Response, StatusCode};
use tower::layer::{Layer, layer_fn};
use tower::service_fn;

use self::admission::{Admission, AdmissionQueue};
use self::permit::RequestPermit;
use super::context::{RequestContext, WithContext};
use super::step::Step;
use crate::config::Config;
use crate::error::Error;
use crate::headers::retry_after::parse_retry_after;

/// Limits of one worker's requests.
#[derive(Debug)]
pub struct Limiter {
    admission: Arc<Admission>,
    honors_retry_after: bool,
}

impl Limiter {
    pub(super) fn new(config: &Config, queue: Arc<AdmissionQueue>) -> Self {
        Limiter {
            admission: Admission::new(queue),
            honors_retry_after: config.limits.honor_retry_after,
        }
    }
}

/// Passes the requests that are within the limits.
pub fn layer<S, In, Out>(
    limiter: Arc<Limiter>,
) -> impl Layer<S, Service = impl Step<WithContext<In>, Out> + use<S, In, Out>> + Clone
where
    S: Step<WithContext<In>, Out>,
    In: Send + 'static,
    Out: Send + 'static,
{
    layer_fn(move |mut inner: S| {
        let limiter = Arc::clone(&limiter);
        service_fn(move |req: Request<WithContext<In>>| {
            let context = Arc::clone(req.body().context());
            // `authenticate` has set it, or rejected the request.
            let caller = context
                .caller()
                .ok_or(Error::CallerUnknown("the caller was not authenticated"));
            let acquired = caller.and_then(|caller| Ok((caller.number(), caller.quota.acquire()?)));
            let (lane, quota) = match acquired {
                Ok(acquired) => acquired,
                Err(error) => return Either::Right(Either::Left(ready(Err(error)))),
            };
            let honors_retry_after = limiter.honors_retry_after;
            if let Some(admission) = limiter.admission.try_acquire() {
                let permit = RequestPermit::new(quota, admission);
                return Either::Left(inner.call(req).map(move |result| {
                    result.inspect(|res| attach_permit(res, permit, &context, honors_retry_after))
                }));
            }
            let admission = Arc::clone(&limiter.admission);
            let mut inner = inner.clone();
            // Boxed, because it is rare.
            Either::Right(Either::Right(Box::pin(async move {
                let permit = RequestPermit::new(quota, admission.acquire(lane).await?);
                let res = inner.call(req).await?;
                attach_permit(&res, permit, &context, honors_retry_after);
                Ok(res)
            })))
        })
    })
}

/// Keeps `permit` until the response ends. With `honors_retry_after`, a caller that the API asks to
/// wait is paused.
fn attach_permit<B>(
    res: &Response<B>,
    permit: RequestPermit,
    context: &RequestContext,
    honors_retry_after: bool,
) {
    if honors_retry_after
        && res.status() == StatusCode::TOO_MANY_REQUESTS
        && let Some(wait) = parse_retry_after(res.headers())
        && let Some(caller) = context.caller()
    {
        caller.quota.pause(wait);
    }
    context.hold_permit(permit);
}

#[cfg(test)]
mod tests;
