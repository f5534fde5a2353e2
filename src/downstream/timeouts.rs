//! The timer of a connection: one for all its requests, set again only when it has run out, or when
//! the connection has rested.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep};

use super::Timeouts;
use super::activity::{Activity, Late};

/// After how long without a request a connection rests: soon, so that the next connection takes the
/// memory that it gives up, and the process does not grow with their number.
const REST: Duration = Duration::from_millis(50);

/// What that comes to, doubled each time, where requests come sooner than this: to wake costs two
/// fifths of a request.
const LONGEST_REST: Duration = Duration::from_secs(3);

/// The time between two looks whether a connection may rest.
const LOOK: Duration = Duration::from_secs(1);

/// Tells when a connection is to be closed, or to rest.
pub(super) struct Deadlines {
    activity: Arc<Activity>,
    timeouts: watch::Receiver<Timeouts>,
    /// Whether it may rest, and after how long.
    may_rest: bool,
    rest: Duration,
    /// Whether it retires when it is old enough, and at which part of `max_age`: connections that
    /// were opened together do not all end together.
    retires: bool,
    age: f64,
    /// Since when the connection takes no further requests.
    closing: Option<Instant>,
    timer: Pin<Box<Sleep>>,
}

impl Deadlines {
    pub(super) fn new(activity: Arc<Activity>, timeouts: watch::Receiver<Timeouts>) -> Self {
        let age = 0.9 + 0.2 * fastrand::f64();
        let first = {
            let timeouts = timeouts.borrow();
            timeouts.shortest().min(timeouts.max_age.mul_f64(age))
        };
        let timer = Box::pin(sleep(first));
        let deadlines = Deadlines {
            activity,
            timeouts,
            may_rest: false,
            rest: REST,
            retires: true,
            age,
            closing: None,
            timer,
        };
        deadlines.set_max_age();
        deadlines
    }

    /// It may have changed.
    fn set_max_age(&self) {
        let max_age = self.timeouts.borrow().max_age;
        self.activity.set_max_age(max_age.mul_f64(self.age));
    }

    /// Those of a connection that may rest. Its answers say themselves when it is too old: without
    /// a request it is closed by `keep_alive`, and no sooner, since a request may be on its way.
    pub(super) fn with_rest(activity: Arc<Activity>, timeouts: watch::Receiver<Timeouts>) -> Self {
        let mut deadlines = Deadlines::new(activity, timeouts);
        deadlines.retires = false;
        deadlines.wait_for_rest();
        deadlines
    }

    /// When the last request ended.
    pub(super) fn idle_since(&self) -> Instant {
        self.activity.idle_since()
    }

    /// Notes that the connection rests, and can only be told to be closed.
    pub(super) fn note_resting(&mut self) {
        self.may_rest = false;
        self.closing = None;
    }

    /// Notes that something has come.
    pub(super) fn note_awake(&mut self) {
        let came_soon = self.activity.idle_since().elapsed() < LONGEST_REST;
        self.rest = if came_soon {
            LONGEST_REST.min(self.rest * 2)
        } else {
            REST
        };
        self.wait_for_rest();
    }

    fn wait_for_rest(&mut self) {
        self.may_rest = true;
        // A first request takes a moment as well.
        let first = Instant::now() + (self.rest * 3 / 2).min(self.shortest());
        self.timer.as_mut().reset(first);
    }

    /// Notes that the connection takes no further requests.
    pub(super) fn note_closing(&mut self) {
        self.closing.get_or_insert_with(Instant::now);
    }

    /// Ready when the connection is to be closed, or to rest.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Late> {
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let now = Instant::now();
            self.set_max_age();
            // What comes next may have the shortest limit of all.
            let mut next = now + self.shortest();
            if let Some(retirement) = self.activity.retirement()
                && self.retires
                && self.closing.is_none()
            {
                if retirement <= now {
                    return Poll::Ready(Late::Aged);
                }
                next = next.min(retirement);
            }
            if let Some((due, late)) = self.due() {
                if due <= now {
                    return Poll::Ready(late);
                }
                // One that may not rest yet is busy: it is looked at no more often for that.
                if late != Late::Resting {
                    next = next.min(due);
                }
            }
            self.timer.as_mut().reset(next);
        }
    }

    fn due(&self) -> Option<(Instant, Late)> {
        let timeouts = *self.timeouts.borrow();
        let (due, late) = self.activity.due(&timeouts)?;
        if late != Late::Idle {
            return Some((due, late));
        }
        let rest = self.activity.idle_since() + self.rest;
        Some(match self.closing {
            // HTTP/2 keeps the end of an answer that its caller is slow to take beyond the end of
            // the request.
            Some(closing) => (closing.max(self.activity.moved()) + timeouts.body, late),
            None if self.may_rest && rest < due => (rest, Late::Resting),
            None => (due, late),
        })
    }

    fn shortest(&self) -> Duration {
        let shortest = self.timeouts.borrow().shortest();
        if self.may_rest {
            shortest.min(LOOK)
        } else {
            shortest
        }
    }
}

impl Timeouts {
    fn shortest(&self) -> Duration {
        self.header.min(self.keep_alive).min(self.body)
    }
}

#[cfg(test)]
mod tests {
    use http::Version;
    use tokio::time::timeout;

    use super::*;

    /// For what, and after how many milliseconds.
    async fn told(deadlines: &mut Deadlines) -> (Late, u128) {
        let began = Instant::now();
        let late = std::future::poll_fn(|cx| deadlines.poll(cx)).await;
        (late, began.elapsed().as_millis())
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_retires_at_its_age() {
        let minute = Duration::from_secs(60);
        let hour = minute * 60;
        let timeouts = Timeouts {
            handshake: minute,
            header: minute,
            keep_alive: hour * 9,
            body: minute,
            max_age: hour,
        };
        for in_flight in [false, true] {
            let (change, changing) = watch::channel(timeouts);
            let activity = Arc::new(Activity::new(Instant::now(), true));
            let mut deadlines = Deadlines::new(Arc::clone(&activity), changing);
            if in_flight {
                activity.begin_request(Version::HTTP_2);
            }
            let (late, after) = told(&mut deadlines).await;
            assert_eq!(late, Late::Aged);
            assert!((54 * 60_000..=66 * 60_000).contains(&after), "{after} ms");
            // Once it closes, it has nothing more to retire from.
            deadlines.note_closing();
            if in_flight {
                assert!(
                    timeout(hour, told(&mut deadlines)).await.is_err(),
                    "what is in flight is cut off"
                );
            }

            let activity = Arc::new(Activity::new(Instant::now(), true));
            let mut deadlines = Deadlines::new(activity, change.subscribe());
            change.send_modify(|timeouts| timeouts.max_age = minute * 10);
            let (late, after) = told(&mut deadlines).await;
            assert!(
                late == Late::Aged && after <= 11 * 60_000,
                "{late:?} after {after} ms"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_http1_connection_is_not_closed_for_its_age() {
        let minute = Duration::from_secs(60);
        let timeouts = Timeouts {
            handshake: minute,
            header: minute,
            keep_alive: minute,
            body: minute,
            max_age: minute / 2,
        };
        let activity = Arc::new(Activity::new(Instant::now(), false));
        let mut deadlines = Deadlines::with_rest(Arc::clone(&activity), timeouts.fixed());
        activity.begin_request(Version::HTTP_11);
        assert!(!activity.is_aged());
        assert!(
            timeout(minute * 5, told(&mut deadlines)).await.is_err(),
            "it is closed in a request"
        );
        assert!(activity.is_aged());
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_rests_later_each_time_that_it_comes_back_soon_and_never_in_a_request() {
        let minute = Duration::from_secs(60);
        let timeouts = Timeouts {
            handshake: minute,
            header: minute,
            keep_alive: minute,
            body: minute,
            max_age: minute * 60,
        }
        .fixed();
        let activity = Arc::new(Activity::new(Instant::now(), false));
        let mut deadlines = Deadlines::with_rest(Arc::clone(&activity), timeouts);
        for rest in [50, 100, 200, 400, 800, 1600, 3000, 50, 100] {
            activity.begin_request(Version::HTTP_11);
            assert!(
                timeout(minute * 5, told(&mut deadlines)).await.is_err(),
                "it rests in a request"
            );
            activity.end_answer();
            let (late, after) = told(&mut deadlines).await;
            assert_eq!(late, Late::Resting);
            assert!(
                (rest..=rest + 1000).contains(&after),
                "{after} ms for {rest}"
            );
            deadlines.note_resting();
            deadlines.note_awake();
        }
        deadlines.note_resting();
        let (late, after) = told(&mut deadlines).await;
        assert!(
            late == Late::Idle && after < minute.as_millis(),
            "{late:?} after {after} ms"
        );
    }
}
