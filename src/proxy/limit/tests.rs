//! The share of a caller, and when it is given back.

use http_body_util::{BodyExt, Empty, Full};
use tower::ServiceExt;

use super::*;
use crate::config::Rate;
use crate::proxy::context::observed;

fn rate(requests: u32, burst: u32) -> Rate {
    Rate {
        requests: NonZeroU32::new(requests).unwrap(),
        per: Duration::from_secs(60),
        burst: NonZeroU32::new(burst).unwrap(),
    }
}

#[test]
fn a_caller_has_its_burst_and_then_its_rate() {
    let share = CallerQuota::new(Some(rate(60, 3)), None);
    let (told, limiter) = share.rate.as_deref().unwrap();
    assert_eq!(*told, rate(60, 3));
    assert_eq!((0..5).filter(|_| limiter.check().is_ok()).count(), 3);
    let until = limiter
        .check()
        .unwrap_err()
        .wait_time_from(DefaultClock::default().now());
    assert!(
        until <= Duration::from_secs(1) && until > Duration::from_millis(500),
        "{until:?}"
    );
}

/// Its rate counts what may go on.
#[test]
fn what_finds_no_place_of_the_caller_costs_nothing_of_its_rate() {
    let known = Arc::new(Known::new(
        1,
        &crate::config::Caller {
            name: "crm".to_owned(),
            keys: Vec::new(),
            certificate: None,
            uid: None,
            expires: None,
            rate: Some(rate(1, 2)),
            max_in_flight: NonZeroU32::new(1),
            allow: None,
            methods: None,
        },
        Arc::new(CallerQuota::new(Some(rate(1, 2)), NonZeroU32::new(1))),
    ));
    let first = CallerQuota::take(&known).unwrap();
    for _ in 0..5 {
        assert!(matches!(
            CallerQuota::take(&known),
            Err(Error::RateLimited { quota: None, .. })
        ));
    }
    drop(first);
    drop(CallerQuota::take(&known).unwrap());
    assert!(matches!(
        CallerQuota::take(&known),
        Err(Error::RateLimited {
            quota: Some((1, 60)),
            ..
        })
    ));
}

#[test]
fn a_rate_beyond_what_can_be_counted_is_none() {
    assert!(
        quota(Rate {
            per: Duration::from_nanos(1),
            ..rate(2, 1)
        })
        .is_none()
    );
}

#[test]
fn the_api_can_hold_a_caller_back() {
    let share = QuotaState::default();
    assert!(share.check_rest().is_ok());
    share.rest(Duration::from_secs(7));
    share.rest(Duration::from_secs(2));
    let Err(Error::RateLimited {
        retry_after,
        quota: None,
    }) = share.check_rest()
    else {
        panic!()
    };
    assert!(retry_after > Duration::from_secs(6), "{retry_after:?}");
    share.rest(Duration::from_secs(1_000_000));
    let Err(Error::RateLimited { retry_after, .. }) = share.check_rest() else {
        panic!()
    };
    assert!(retry_after <= LONGEST_REST, "{retry_after:?}");
}

/// What is in flight when the bounds change is in flight afterwards.
#[test]
fn what_is_counted_of_a_caller_goes_on_under_other_bounds() {
    let (one, two) = (NonZeroU32::new(1), NonZeroU32::new(2));
    let first = CallerQuota::new(Some(rate(1, 1)), one);
    first.standing.in_flight.fetch_add(1, Relaxed);
    first.standing.rest(Duration::from_secs(9));
    let (_, limiter) = first.rate.as_deref().unwrap();
    limiter.check().unwrap();

    let more = CallerQuota::renewed(Some(&first), Some(rate(1, 1)), two);
    assert_eq!(
        (more.most, more.standing.in_flight.load(Relaxed)),
        (Some(2), 1)
    );
    assert!(more.standing.check_rest().is_err());
    assert!(more.rate.as_deref().unwrap().1.check().is_err());

    let faster = CallerQuota::renewed(Some(&more), Some(rate(1, 2)), two);
    assert_eq!(faster.standing.in_flight.load(Relaxed), 1);
    assert!(faster.rate.as_deref().unwrap().1.check().is_ok());
}

/// The step with one place in all, before which so many wait; each answer has a body.
fn one_place(queue: u32) -> impl Step<WithContext<Empty<Bytes>>, Limited<Full<Bytes>>> {
    let mut config = crate::proxy::tests::config();
    config.limits.max_in_flight = NonZeroU32::MIN;
    config.limits.queue = Some(queue);
    let (_publisher, tokens) = crate::token::channel(Duration::from_secs(1), Arc::default());
    let rules = crate::proxy::tests::rules(&config, tokens);
    let answer = |_| async { Ok::<_, Error>(Response::new(Full::<Bytes>::from("body"))) };
    layer(rules).layer(service_fn(answer))
}

/// One of anyone's.
fn request() -> Request<WithContext<Empty<Bytes>>> {
    let req = observed(Request::new(Empty::new()));
    req.body()
        .record()
        .note_caller(Arc::new(Known::anyone(Arc::default())));
    req
}

/// The next request gets it when the body of the answer has ended or is dropped, and not before.
#[tokio::test]
async fn a_place_is_given_back_with_the_end_of_the_body() {
    let service = one_place(0);
    let call = async || service.clone().oneshot(request()).await;
    let mut body = call().await.unwrap().into_body();
    assert!(matches!(call().await, Err(Error::Overloaded)));
    while body.frame().await.is_some() {}
    let second = call().await.unwrap();
    assert!(matches!(call().await, Err(Error::Overloaded)));
    drop(second);
    assert!(call().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn who_has_waited_for_a_place_has_it_as_long_as_others() {
    let service = one_place(1);
    let call = || service.clone().oneshot(request());
    let first = call().await.unwrap();
    let waiting = tokio::spawn(call());
    tokio::task::yield_now().await;
    drop(first);
    let mut body = waiting.await.unwrap().unwrap().into_body();
    assert!(
        matches!(call().await, Err(Error::Overloaded)),
        "its place is free while its body is not sent"
    );
    while body.frame().await.is_some() {}
    assert!(call().await.is_ok());
}

/// A stack in another order would let pass whom nobody has asked.
#[tokio::test]
async fn whoever_was_not_asked_is_refused() {
    let req = observed(Request::new(Empty::new()));
    assert!(matches!(
        one_place(0).oneshot(req).await,
        Err(Error::CallerUnknown(_))
    ));
}
