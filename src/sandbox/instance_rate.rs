//! Rate of the calls of one journey: the fault `api-instance-rate`, in a fixed window of time.

use tokio::time::Instant;

use super::api_error::ApiError;
use super::faults::{FaultEffect, FaultTarget, InstanceRate};
use super::inject::ActiveFaults;

/// The calls of one journey in the current window.
#[derive(Debug, Default)]
pub(super) struct RateWindow {
    start: Option<Instant>,
    calls: u32,
}

impl RateWindow {
    /// Counts a call.
    ///
    /// # Errors
    /// [`ApiError::TooManyRequests`] above `rate`; the call is not counted.
    pub(super) fn admit(&mut self, rate: InstanceRate) -> Result<(), ApiError> {
        let now = Instant::now();
        let elapsed = self.start.map(|start| now - start);
        let left = elapsed.and_then(|elapsed| rate.per.checked_sub(elapsed));
        match left.filter(|left| !left.is_zero()) {
            Some(left) if self.calls >= rate.calls.get() => {
                // Rounded up, so that the wait is never too short.
                let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
                return Err(ApiError::TooManyRequests(seconds));
            }
            Some(_) => self.calls += 1,
            None => {
                self.start = Some(now);
                self.calls = 1;
            }
        }
        Ok(())
    }
}

/// Returns the rate that a fault sets; `None` without one.
pub(super) fn active(faults: &ActiveFaults) -> Option<InstanceRate> {
    faults.find(FaultTarget::Api, rate)
}

/// Uses up one call of the fault: the one that was refused.
pub(super) fn consume(faults: &mut ActiveFaults) {
    faults.consume(FaultTarget::Api, rate);
}

fn rate(effect: &FaultEffect) -> Option<InstanceRate> {
    match effect {
        FaultEffect::InstanceRate(rate) => Some(*rate),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_window_admits_the_rate_and_ends() {
        let rate = InstanceRate {
            calls: NonZeroU32::new(2).unwrap(),
            per: Duration::from_secs(5),
        };
        let mut window = RateWindow::default();
        for _ in 0..3 {
            assert_eq!(window.admit(rate), Ok(()));
            advance(Duration::from_millis(1500)).await;
            assert_eq!(window.admit(rate), Ok(()));
            assert_eq!(window.admit(rate), Err(ApiError::TooManyRequests(4)));
            advance(Duration::from_millis(3500)).await;
        }
    }
}
