//! How much: the rate and the concurrency of each caller, then of the whole process. What is too
//! much is refused at once, and what is taken is given back when the body of the answer has ended,
//! not with its head.

mod admission;

use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::Either;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use http::{Request, Response, StatusCode};
use http_body::{Frame, SizeHint};
use hyper::body::Body;
use tower::layer::{Layer, layer_fn};
use tower::service_fn;

use self::admission::Place;
pub(super) use self::admission::{Door, Gate};
use super::Step;
use super::authenticate::Known;
use super::context::WithContext;
use crate::config::{Config, Rate};
use crate::error::Error;
use crate::headers::retry_after::parse_retry_after;
use crate::metrics::Metrics;

/// When a caller that has too many requests in flight may try again: one of them may have ended.
const A_MOMENT: Duration = Duration::from_secs(1);

/// The longest that a caller is held back because the API said so.
const LONGEST_REST: Duration = Duration::from_secs(300);

/// The share of each caller, and of anyone, who comes first.
#[derive(Debug)]
pub(super) struct CallerQuotas(Vec<(Bounds, usize, Arc<CallerQuota>)>);

/// Whose share it is, and how large.
type Bounds = (String, Option<Rate>, Option<NonZeroU32>);

impl CallerQuotas {
    /// Those of the callers of `config`, by the numbers under which `metrics` counts them. What is
    /// counted of the `former` goes on.
    pub(super) fn new(config: &Config, metrics: &Metrics, former: Option<&CallerQuotas>) -> Self {
        let former = former.map_or(&[][..], |former| &former.0);
        let share = |bounds: Bounds| {
            let (name, rate, most) = &bounds;
            let known = former
                .iter()
                .find(|((known, ..), ..)| known == name)
                .map(|(.., share)| &**share);
            let share = Arc::new(CallerQuota::renewed(known, *rate, *most));
            let number = metrics.caller_number(&bounds.0);
            (bounds, number, share)
        };
        let of_callers = config
            .callers
            .iter()
            .map(|caller| (caller.name.clone(), caller.rate, caller.max_in_flight));
        CallerQuotas(
            std::iter::once((String::new(), None, None))
                .chain(of_callers)
                .map(share)
                .collect(),
        )
    }

    /// That of those who have no name.
    pub(super) fn of_anyone(&self) -> Arc<CallerQuota> {
        self.0
            .first()
            .map(|(.., share)| Arc::clone(share))
            .unwrap_or_default()
    }

    /// Those of the callers, in their order, each with its number.
    pub(super) fn of_callers(&self) -> impl Iterator<Item = (usize, Arc<CallerQuota>)> {
        self.0
            .iter()
            .skip(1)
            .map(|(_, number, share)| (*number, Arc::clone(share)))
    }
}

/// A caller's share, counted for the whole process.
#[derive(Debug)]
pub(super) struct CallerQuota {
    rate: Option<Arc<(Rate, DefaultDirectRateLimiter)>>,
    most: Option<u32>,
    standing: Arc<QuotaState>,
}

/// How a caller stands, whatever its bounds become.
#[derive(Debug)]
struct QuotaState {
    /// Counted where there is a most: cores share what is counted.
    in_flight: AtomicU32,
    epoch: Instant,
    /// Milliseconds from `epoch` to when the caller may send again; the API has asked for that.
    rests_until: AtomicU64,
}

impl Default for CallerQuota {
    /// One without bounds.
    fn default() -> Self {
        CallerQuota::new(None, None)
    }
}

impl CallerQuota {
    pub(super) fn new(rate: Option<Rate>, most: Option<NonZeroU32>) -> Self {
        CallerQuota::renewed(None, rate, most)
    }

    /// The share that `former` becomes: a rate that is another one begins anew, and all else that
    /// is counted goes on.
    fn renewed(former: Option<&CallerQuota>, rate: Option<Rate>, most: Option<NonZeroU32>) -> Self {
        let counted = former
            .and_then(|former| former.rate.clone())
            .filter(|counted| Some(counted.0) == rate);
        let begun =
            || rate.and_then(|rate| Some(Arc::new((rate, RateLimiter::direct(quota(rate)?)))));
        let standing = former.map(|former| Arc::clone(&former.standing));
        CallerQuota {
            rate: counted.or_else(begun),
            most: most.map(NonZeroU32::get),
            standing: standing.unwrap_or_default(),
        }
    }

    /// Takes one request's part of the share.
    fn take(known: &Arc<Known>) -> Result<CallerPermit, Error> {
        let share = &known.share;
        share.standing.check_rest()?;
        // The place first: what finds none is no request that counts.
        let taken = CallerPermit::of(known)?;
        if let Some((rate, limiter)) = share.rate.as_deref()
            && let Err(until) = limiter.check()
        {
            return Err(Error::RateLimited {
                retry_after: until.wait_time_from(DefaultClock::default().now()),
                quota: Some((rate.requests.get(), rate.per.as_secs())),
            });
        }
        Ok(taken)
    }
}

impl Default for QuotaState {
    fn default() -> Self {
        QuotaState {
            in_flight: AtomicU32::new(0),
            epoch: Instant::now(),
            rests_until: AtomicU64::new(0),
        }
    }
}

impl QuotaState {
    fn check_rest(&self) -> Result<(), Error> {
        let until = self.rests_until.load(Relaxed);
        if until == 0 {
            return Ok(());
        }
        match Duration::from_millis(until).checked_sub(self.epoch.elapsed()) {
            Some(retry_after) if !retry_after.is_zero() => Err(Error::RateLimited {
                retry_after,
                quota: None,
            }),
            _ => Ok(()),
        }
    }

    /// Holds the caller back for `time`.
    fn rest(&self, time: Duration) {
        let until = (self.epoch.elapsed() + time.min(LONGEST_REST)).as_millis();
        self.rests_until
            .fetch_max(u64::try_from(until).unwrap_or(u64::MAX), Relaxed);
    }
}

/// The rate as GCRA has it: a cell in every so much time. `None` for more than a thousand million a
/// second.
fn quota(rate: Rate) -> Option<Quota> {
    Some(Quota::with_period(rate.per / rate.requests.get())?.allow_burst(rate.burst))
}

/// A request in flight, of one caller.
#[derive(Debug)]
struct CallerPermit(Arc<Known>);

impl CallerPermit {
    fn of(known: &Arc<Known>) -> Result<Self, Error> {
        let taken = CallerPermit(Arc::clone(known));
        match known.share.most {
            Some(most) if known.share.standing.in_flight.fetch_add(1, Relaxed) >= most => {
                Err(Error::RateLimited {
                    retry_after: A_MOMENT,
                    quota: None,
                })
            }
            _ => Ok(taken),
        }
    }
}

impl Drop for CallerPermit {
    fn drop(&mut self) {
        if self.0.share.most.is_some() {
            self.0.share.standing.in_flight.fetch_sub(1, Relaxed);
        }
    }
}

/// What a request has taken, until its answer has ended.
#[derive(Debug)]
struct Permit {
    _taken: CallerPermit,
    _place: Place,
}

/// Lets pass what is within the limits.
pub fn layer<S, In, Out>(
    rules: Arc<super::Rules>,
) -> impl Layer<S, Service = impl Step<WithContext<In>, Limited<Out>> + use<S, In, Out>> + Clone
where
    S: Step<WithContext<In>, Out>,
    In: Send + 'static,
    Out: Send + 'static,
{
    layer_fn(move |mut inner: S| {
        let rules = Arc::clone(&rules);
        service_fn(move |req: Request<WithContext<In>>| {
            let known = req.body().record().caller();
            // `caller` has noted who it is, or refused it.
            let known = known.ok_or(Error::CallerUnknown("nobody was asked who sent this"));
            let taken = match known.and_then(CallerQuota::take) {
                Ok(taken) => taken,
                Err(error) => return Either::Right(Either::Left(std::future::ready(Err(error)))),
            };
            let heeds = rules.heeds_retry_after;
            match rules.door.enter() {
                Some(place) => Either::Left(inner.call(req).map(move |answered| {
                    answered.map(|res| {
                        within(
                            res,
                            Permit {
                                _taken: taken,
                                _place: place,
                            },
                            heeds,
                        )
                    })
                })),
                None => {
                    let door = Arc::clone(&rules.door);
                    let mut inner = inner.clone();
                    // Rare, and so boxed.
                    Either::Right(Either::Right(Box::pin(async move {
                        let place = door.wait(taken.0.number()).await?;
                        let res = inner.call(req).await?;
                        Ok(within(
                            res,
                            Permit {
                                _taken: taken,
                                _place: place,
                            },
                            heeds,
                        ))
                    })))
                }
            }
        })
    })
}

/// The answer with what its request has taken. Where the API asks a caller to wait, it is made to
/// if that `heeds` it.
fn within<B>(res: Response<B>, permit: Permit, heeds: bool) -> Response<Limited<B>> {
    if heeds
        && res.status() == StatusCode::TOO_MANY_REQUESTS
        && let Some(wait) = parse_retry_after(res.headers())
    {
        permit._taken.0.share.standing.rest(wait);
    }
    res.map(|body| Limited {
        inner: body,
        permit: Some(permit),
    })
}

/// The body of an answer whose end gives back what its request has taken.
#[derive(Debug)]
pub struct Limited<B> {
    inner: B,
    permit: Option<Permit>,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Limited<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = Pin::new(&mut self.inner).poll_frame(cx);
        if matches!(frame, Poll::Ready(None | Some(Err(_)))) {
            self.permit = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests;
