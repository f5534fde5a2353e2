//! Puts our bearer on a request, as the last thing that happens to it. What the caller sent as
//! Authorization goes.
//!
//! Where the API refuses the bearer, the request is sent once more with a newer one, if there is
//! one to be had. It did not act on what it refused, so nothing happens twice; the same holds for a
//! request that it says it has not processed. Where the connection broke before an answer, only
//! calls that change nothing are sent once more.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{AUTHORIZATION, HeaderMap};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Body;
use tokio::time::{Instant, timeout};
use tower::layer::{Layer, layer_fn};
use tower::retry::budget::{Budget, TpsBudget};
use tower::service_fn;

use super::context::{Record, WithContext};
use super::replay::{Kept, RequestBody, keep};
use super::{Forward, Step};
use crate::config::{Config, ExactPath, Limits};
use crate::error::{Error, chain};
use crate::gbg::is_safe_to_repeat;
use crate::token::{Bearer, Deadline, Reader};
use crate::upstream::RequireNewConnection;

/// A request that may be sent.
#[derive(Debug)]
pub struct Authorized<B> {
    /// With its one Authorization, or none. Boxed: it changes hands more often than it is looked
    /// at.
    pub req: Box<Request<RequestBody<B>>>,
    pub(super) permit: Permit,
}

impl<B> Authorized<B> {
    fn new(
        req: Request<RequestBody<B>>,
        until: Option<Deadline>,
        rules: &Arc<super::Rules>,
    ) -> Self {
        Authorized {
            req: Box::new(req),
            permit: Permit {
                until,
                rules: Arc::clone(rules),
            },
        }
    }
}

/// How long a request may be sent with the bearer that it carries.
#[derive(Debug)]
pub(super) struct Permit {
    /// `None` where the bearer is not ours.
    until: Option<Deadline>,
    rules: Arc<super::Rules>,
}

impl Permit {
    /// Puts a newer bearer on a request whose bearer has stopped.
    ///
    /// # Errors
    /// `TokenUnavailable` or `ClientRefused` when there is none.
    pub(super) fn renew(&self, headers: &mut HeaderMap) -> Result<(), Error> {
        if self.until.is_some_and(|until| until.has_come()) {
            let tokens = &self.rules.authorize.tokens;
            let bearer = tokens.current().ok_or_else(|| tokens.error())?;
            headers.insert(AUTHORIZATION, bearer.header);
        }
        Ok(())
    }
}

/// Whose bearer a request carries, and what happens when the API refuses it.
#[derive(Debug)]
pub(super) struct Rules {
    caller_bearer: Vec<ExactPath>,
    tokens: Reader,
    retry_statuses: Vec<StatusCode>,
    limits: Limits,
    repeats: TpsBudget,
}

impl Rules {
    pub(super) fn new(config: &Config, tokens: Reader) -> Self {
        Rules {
            caller_bearer: config.forward.caller_bearer.clone(),
            tokens: tokens.waiting(config.token.wait_timeout),
            retry_statuses: config.token.retry_statuses.clone(),
            limits: config.limits.clone(),
            // Of the calls in ten seconds a fifth, and ten a second: a broken API is not asked
            // twice as much.
            repeats: TpsBudget::new(Duration::from_secs(10), 10, 0.2),
        }
    }

    /// Whether a request that failed with `error` may be sent once more; `is_safe` if it changes
    /// nothing.
    fn may_repeat(&self, error: &Error, is_safe: bool) -> bool {
        match error {
            // The API asks for another connection. It ends each one once, so this does not multiply
            // its load.
            Error::UpstreamRefused {
                is_shutdown: true, ..
            } => true,
            Error::UpstreamRefused { .. } => self.repeats.withdraw(),
            Error::UpstreamClosed(_) | Error::UpstreamBroken(_) => {
                is_safe && self.repeats.withdraw()
            }
            _ => false,
        }
    }

    /// Whether the caller's own bearer is the credential on `path`.
    pub(super) fn is_callers(&self, path: &str) -> bool {
        self.caller_bearer
            .iter()
            .any(|known| known.as_str() == path)
    }
}

/// `req` with `bearer`.
fn authorized<B>(
    mut req: Request<RequestBody<B>>,
    bearer: Bearer,
    rules: &Arc<super::Rules>,
) -> Authorized<B> {
    req.headers_mut().insert(AUTHORIZATION, bearer.header);
    Authorized::new(req, Some(bearer.stop), rules)
}

/// Replaces Authorization by our bearer. Waits only while there is no valid one.
pub fn layer<S, In, Out>(
    rules: Arc<super::Rules>,
) -> impl Layer<S, Service = impl Step<WithContext<In>, Out> + use<S, In, Out>> + Clone
where
    S: Forward<WithContext<In>, Out>,
    In: Body<Data = Bytes> + Unpin + Send + 'static,
    Out: Body<Data = Bytes> + Send + Unpin + 'static,
{
    layer_fn(move |inner: S| {
        let rules = Arc::clone(&rules);
        // Boxed: it has room for all that is below, and would be moved with each step above.
        service_fn(move |req| Box::pin(authorize_and_send(req, inner.clone(), Arc::clone(&rules))))
    })
}

/// Sends `req` with our bearer, or the caller's own, and once more where that helps. No async
/// function: that would hold the request twice.
pub(super) fn authorize_and_send<S, In, Out>(
    req: Request<WithContext<In>>,
    mut inner: S,
    rules: Arc<super::Rules>,
) -> impl Future<Output = Result<Response<Out>, Error>> + Send + use<S, In, Out>
where
    S: Forward<WithContext<In>, Out>,
    In: Body<Data = Bytes> + Unpin + Send + 'static,
    Out: Body<Data = Bytes> + Unpin + Send + 'static,
{
    let record = Arc::clone(req.body().record());
    async move {
        let rules = &rules;
        let Rules {
            tokens,
            retry_statuses,
            limits,
            repeats,
            ..
        } = &rules.authorize;
        let is_safe = is_safe_to_repeat(req.method(), req.uri().path());
        if is_safe {
            repeats.deposit();
        }
        let mut generation = None;
        let (req, kept) = if rules.authorize.is_callers(req.uri().path()) {
            let mut req = req;
            keep_one_bearer(req.headers_mut());
            let (req, kept) = keep(req, limits);
            (Authorized::new(req, None, rules), kept)
        } else {
            let bearer = match tokens.current() {
                Some(bearer) => bearer,
                // Boxed, like all that is rare: what a future may hold, each request carries about.
                None => Box::pin(waited(tokens, &record)).await?,
            };
            generation = Some(bearer.generation);
            let (req, kept) = keep(req, limits);
            (authorized(req, bearer, rules), kept)
        };
        let answered = send(&mut inner, req, generation, &record).await;
        match (answered, generation) {
            (Ok(res), Some(generation)) if retry_statuses.contains(&res.status()) => {
                tokens.record_unauthorized();
                Box::pin(once_more(
                    inner,
                    res,
                    kept.as_deref(),
                    generation,
                    rules,
                    &record,
                ))
                .await
            }
            (Err(error), _) => match kept.filter(|kept| kept.is_whole()) {
                Some(kept)
                    if rules
                        .authorize
                        .may_repeat(&error, is_safe && generation.is_some()) =>
                {
                    Box::pin(repeat(
                        inner,
                        error,
                        &kept,
                        generation.is_some(),
                        rules,
                        &record,
                    ))
                    .await
                }
                _ => Err(error),
            },
            (answered, _) => answered,
        }
    }
}

/// A bearer that has to be waited for.
async fn waited(tokens: &Reader, record: &Record) -> Result<Bearer, Error> {
    let began = Instant::now();
    let bearer = tokens.wait().await;
    record.note_wait(began);
    bearer
}

/// Sends what was `kept` with a newer bearer than `generation`, which `refusal` is the answer to.
/// Where there is none, or not the whole request, the refusal stands as it came; the newer bearer
/// is asked for all the same, for the next request.
async fn once_more<S, In, Out>(
    inner: S,
    refusal: Response<Out>,
    kept: Option<&Kept>,
    generation: u64,
    rules: &Arc<super::Rules>,
    record: &Record,
) -> Result<Response<Out>, Error>
where
    S: Forward<In, Out>,
    Out: Body<Data = Bytes> + Unpin,
{
    let tokens = &rules.authorize.tokens;
    let Some(kept) = kept.filter(|kept| kept.is_whole()) else {
        tokens.complain(generation);
        return Ok(refusal);
    };
    if !tokens.renewed(generation).await {
        return Ok(refusal);
    }
    let Some(bearer) = tokens.current() else {
        return Ok(refusal);
    };
    read_out(refusal.into_body()).await;
    tracing::debug!(
        generation,
        "the API refused the access token; sending the request once more with a newer one"
    );
    send_again(inner, kept.again(), bearer, rules, record).await
}

/// Sends what was `kept` again after `error`, which came instead of an answer; with `our_bearer`,
/// or as the caller sent it.
async fn repeat<S, In, Out>(
    mut inner: S,
    error: Error,
    kept: &Kept,
    our_bearer: bool,
    rules: &Arc<super::Rules>,
    record: &Record,
) -> Result<Response<Out>, Error>
where
    S: Forward<In, Out>,
{
    let mut req = kept.again();
    if !matches!(error, Error::UpstreamRefused { .. }) {
        // The other pooled connections may be dead for the same reason.
        req.extensions_mut().insert(RequireNewConnection);
    }
    tracing::debug!(error = chain(&error), "sending the request once more");
    if !our_bearer {
        return send(&mut inner, Authorized::new(req, None, rules), None, record).await;
    }
    let Some(bearer) = rules.authorize.tokens.current() else {
        return Err(error);
    };
    send_again(inner, req, bearer, rules, record).await
}

async fn send_again<S, In, Out>(
    mut inner: S,
    req: Request<RequestBody<In>>,
    bearer: Bearer,
    rules: &Arc<super::Rules>,
    record: &Record,
) -> Result<Response<Out>, Error>
where
    S: Forward<In, Out>,
{
    let generation = Some(bearer.generation);
    send(
        &mut inner,
        authorized(req, bearer, rules),
        generation,
        record,
    )
    .await
}

/// Sends `req`, and notes what becomes of it. No async function: that would hold the request twice.
fn send<'r, S, In, Out>(
    inner: &mut S,
    mut req: Authorized<In>,
    generation: Option<u64>,
    record: &'r Record,
) -> impl Future<Output = Result<Response<Out>, Error>> + Send + use<'r, S, In, Out>
where
    S: Forward<In, Out>,
{
    record.note_sent(generation, req.req.headers_mut());
    inner
        .call(req)
        .inspect(|answered| record.note_answered(answered))
}

/// Reads what is left of a short answer, so that its connection can serve again.
async fn read_out<B: Body<Data = Bytes> + Unpin>(mut body: B) {
    const LONGEST: usize = 64 << 10;
    const PATIENCE: Duration = Duration::from_millis(100);
    let mut room = LONGEST;
    let read = async {
        while let Some(Ok(frame)) = body.frame().await {
            match room.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                Some(left) => room = left,
                None => return,
            }
        }
    };
    // If it takes longer, a new connection is the cheaper way.
    let _ = timeout(PATIENCE, read).await;
}

/// Removes Authorization unless there is exactly one, and it is a bearer's.
fn keep_one_bearer(headers: &mut HeaderMap) {
    let mut found = headers.get_all(AUTHORIZATION).iter();
    let is_bearer = |value: &[u8]| {
        value
            .get(..7)
            .is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer "))
    };
    if !matches!((found.next(), found.next()), (Some(value), None) if is_bearer(value.as_bytes())) {
        headers.remove(AUTHORIZATION);
    }
}

#[cfg(test)]
mod tests;
