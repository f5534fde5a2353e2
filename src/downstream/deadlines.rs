//! Timer of a connection: one for all its requests, set again only when it has run out or when the
//! connection leaves the park.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep};

use super::activity::{Activity, DeadlineKind};
use super::timeouts::Timeouts;

/// Idle time before a connection is parked. Short, so that the next connection reuses the memory,
/// and the process does not grow with the number of connections.
const MIN_PARK_DELAY: Duration = Duration::from_millis(50);

/// Longest idle time before parking. The delay doubles while requests arrive sooner than this:
/// unparking costs two fifths of a request.
const MAX_PARK_DELAY: Duration = Duration::from_secs(3);

/// Interval of checking whether a connection can be parked.
const PARK_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Resolves when a connection has to be closed, or can be parked.
pub(super) struct Deadlines {
    activity: Arc<Activity>,
    timeouts: watch::Receiver<Timeouts>,
    can_park: bool,
    park_delay: Duration,
    /// Whether the timer closes the connection at its maximum age.
    closes_at_max_age: bool,
    /// Fraction of `max_age`, so that connections that open together do not all end together.
    age_factor: f64,
    /// Since when the connection takes no more requests.
    closing_since: Option<Instant>,
    timer: Pin<Box<Sleep>>,
}

impl Deadlines {
    pub(super) fn new(activity: Arc<Activity>, timeouts: watch::Receiver<Timeouts>) -> Self {
        let age_factor = 0.9 + 0.2 * fastrand::f64();
        let first = {
            let timeouts = timeouts.borrow();
            timeouts
                .shortest()
                .min(timeouts.max_age.mul_f64(age_factor))
        };
        let deadlines = Deadlines {
            activity,
            timeouts,
            can_park: false,
            park_delay: MIN_PARK_DELAY,
            closes_at_max_age: true,
            age_factor,
            closing_since: None,
            timer: Box::pin(sleep(first)),
        };
        deadlines.update_max_age();
        deadlines
    }

    /// The deadlines of a connection that can be parked. Its responses announce the end at the
    /// maximum age. Without a request only `keep_alive` closes it, since a request may be on its
    /// way.
    pub(super) fn with_parking(
        activity: Arc<Activity>,
        timeouts: watch::Receiver<Timeouts>,
    ) -> Self {
        let mut deadlines = Deadlines::new(activity, timeouts);
        deadlines.closes_at_max_age = false;
        deadlines.start_park_delay();
        deadlines
    }

    /// Applies a configuration reload.
    fn update_max_age(&self) {
        let max_age = self.timeouts.borrow().max_age;
        self.activity.set_max_age(max_age.mul_f64(self.age_factor));
    }

    pub(super) fn idle_since(&self) -> Instant {
        self.activity.idle_since()
    }

    /// Records that the connection is parked: the only deadline left is the one that closes it.
    pub(super) fn park(&mut self) {
        self.can_park = false;
        self.closing_since = None;
    }

    /// Records that bytes have arrived, or the end of the park.
    pub(super) fn unpark(&mut self) {
        let is_frequent = self.activity.idle_since().elapsed() < MAX_PARK_DELAY;
        self.park_delay = if is_frequent {
            MAX_PARK_DELAY.min(self.park_delay * 2)
        } else {
            MIN_PARK_DELAY
        };
        self.start_park_delay();
    }

    fn start_park_delay(&mut self) {
        self.can_park = true;
        // The first request takes a moment as well.
        let first = Instant::now() + (self.park_delay * 3 / 2).min(self.shortest());
        self.timer.as_mut().reset(first);
    }

    /// Records that the connection takes no more requests.
    pub(super) fn begin_closing(&mut self) {
        self.closing_since.get_or_insert_with(Instant::now);
    }

    /// Ready when the connection has to be closed, or can be parked.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<DeadlineKind> {
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let now = Instant::now();
            self.update_max_age();
            // The next event may have the shortest timeout of all.
            let mut next = now + self.shortest();
            if let Some(retires_at) = self.activity.retires_at()
                && self.closes_at_max_age
                && self.closing_since.is_none()
            {
                if retires_at <= now {
                    return Poll::Ready(DeadlineKind::MaxAge);
                }
                next = next.min(retires_at);
            }
            if let Some((deadline, kind)) = self.next_deadline() {
                if deadline <= now {
                    return Poll::Ready(kind);
                }
                // A connection that cannot be parked yet is busy: check it no more often.
                if kind != DeadlineKind::Park {
                    next = next.min(deadline);
                }
            }
            self.timer.as_mut().reset(next);
        }
    }

    fn next_deadline(&self) -> Option<(Instant, DeadlineKind)> {
        let timeouts = *self.timeouts.borrow();
        let (deadline, kind) = self.activity.deadline(&timeouts)?;
        if kind != DeadlineKind::Idle {
            return Some((deadline, kind));
        }
        let park_at = self.activity.idle_since() + self.park_delay;
        Some(match self.closing_since {
            // Over HTTP/2 a slow caller may take the end of a response after the end of its
            // request.
            Some(closing_since) => {
                let since = closing_since.max(self.activity.last_progress());
                (since + timeouts.body, kind)
            }
            None if self.can_park && park_at < deadline => (park_at, DeadlineKind::Park),
            None => (deadline, kind),
        })
    }

    fn shortest(&self) -> Duration {
        let shortest = self.timeouts.borrow().shortest();
        if self.can_park {
            shortest.min(PARK_CHECK_INTERVAL)
        } else {
            shortest
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Version;
    use tokio::time::timeout;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// Timeouts of a minute, except these.
    fn timeouts(keep_alive: Duration, max_age: Duration) -> Timeouts {
        Timeouts {
            handshake: MINUTE,
            header: MINUTE,
            keep_alive,
            body: MINUTE,
            max_age,
        }
    }

    /// Waits for the next deadline; also returns the milliseconds waited.
    async fn wait(deadlines: &mut Deadlines) -> (DeadlineKind, u128) {
        let start = Instant::now();
        let kind = std::future::poll_fn(|cx| deadlines.poll(cx)).await;
        (kind, start.elapsed().as_millis())
    }

    #[tokio::test(start_paused = true)]
    async fn an_http2_connection_retires_at_its_maximum_age() {
        let hour = MINUTE * 60;
        let timeouts = timeouts(hour * 9, hour);
        for in_flight in [false, true] {
            let (sender, receiver) = watch::channel(timeouts);
            let activity = Arc::new(Activity::new(Instant::now(), true));
            let mut deadlines = Deadlines::new(Arc::clone(&activity), receiver);
            if in_flight {
                activity.begin_request(Version::HTTP_2);
            }
            let (kind, after) = wait(&mut deadlines).await;
            assert_eq!(kind, DeadlineKind::MaxAge);
            assert!((54 * 60_000..=66 * 60_000).contains(&after), "{after} ms");
            // A closing connection does not retire again.
            deadlines.begin_closing();
            if in_flight {
                assert!(
                    timeout(hour, wait(&mut deadlines)).await.is_err(),
                    "a request in flight is cut off"
                );
            }

            let activity = Arc::new(Activity::new(Instant::now(), true));
            let mut deadlines = Deadlines::new(activity, sender.subscribe());
            sender.send_modify(|timeouts| timeouts.max_age = MINUTE * 10);
            let (kind, after) = wait(&mut deadlines).await;
            assert!(
                kind == DeadlineKind::MaxAge && after <= 11 * 60_000,
                "{kind:?} after {after} ms"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_http1_connection_is_not_closed_for_age() {
        let timeouts = timeouts(MINUTE, MINUTE / 2);
        let activity = Arc::new(Activity::new(Instant::now(), false));
        let mut deadlines = Deadlines::with_parking(Arc::clone(&activity), timeouts.fixed());
        activity.begin_request(Version::HTTP_11);
        assert!(!activity.is_too_old());
        assert!(
            timeout(MINUTE * 5, wait(&mut deadlines)).await.is_err(),
            "closed during a request"
        );
        assert!(activity.is_too_old());
    }

    #[tokio::test(start_paused = true)]
    async fn frequent_requests_delay_parking() {
        let timeouts = timeouts(MINUTE, MINUTE * 60).fixed();
        let activity = Arc::new(Activity::new(Instant::now(), false));
        let mut deadlines = Deadlines::with_parking(Arc::clone(&activity), timeouts);
        for delay in [50, 100, 200, 400, 800, 1600, 3000, 50, 100] {
            activity.begin_request(Version::HTTP_11);
            assert!(
                timeout(MINUTE * 5, wait(&mut deadlines)).await.is_err(),
                "parked during a request"
            );
            activity.end_response();
            let (kind, after) = wait(&mut deadlines).await;
            assert_eq!(kind, DeadlineKind::Park);
            assert!(
                (delay..=delay + 1000).contains(&after),
                "{after} ms for {delay}"
            );
            deadlines.park();
            deadlines.unpark();
        }
        deadlines.park();
        let (kind, after) = wait(&mut deadlines).await;
        assert!(
            kind == DeadlineKind::Idle && after < MINUTE.as_millis(),
            "{kind:?} after {after} ms"
        );
    }
}
