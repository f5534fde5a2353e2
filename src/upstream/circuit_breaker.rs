//! Circuit breaker: fails fast while no connection to the API can be opened, so that most requests
//! that need one do not wait for `upstream.connect_timeout`.
//!
//! ```text
//!             5 consecutive attempts failed
//!    closed ──────────────────────────────▶ open ──┐ one attempt
//!       ▲                                    │     │ every 100 ms
//!       └────────────────────────────────────┘ ◀───┘
//!                 a connection opened
//! ```
//!
//! It must never cause a failure itself. So it counts only attempts to open a connection, and
//! requests that have a connection do not consult it; it admits one attempt every 100 ms, however
//! long earlier ones hang; and a failure counts only if no connection has opened since the attempt
//! began.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::error::{BoxError, chain};
use crate::metrics::AccountMetrics;

/// Consecutive failures that open the circuit.
const FAILURE_THRESHOLD: u32 = 5;

/// Interval of attempts while the circuit is open.
const ATTEMPT_INTERVAL: Duration = Duration::from_millis(100);

/// The circuit breaker of one upstream.
#[derive(Debug)]
pub(super) struct CircuitBreaker {
    enabled: bool,
    /// A copy of `state.open.is_some()` that needs no lock.
    is_open: AtomicBool,
    account: Arc<AccountMetrics>,
    /// Locked only when a connection begins to open, opens or fails.
    state: Mutex<BreakerState>,
}

/// Permission to open one connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConnectAttempt {
    /// The number of connections that had opened before.
    opened_before: u64,
}

/// The error of an attempt that is not admitted.
#[derive(Clone, Debug, thiserror::Error)]
#[error("connections to the API fail at the moment; the last attempt said: {0}")]
pub(super) struct CircuitOpen(Arc<str>);

impl CircuitBreaker {
    /// Creates a closed circuit, which never opens unless it is `enabled`.
    pub(super) fn new(enabled: bool, account: Arc<AccountMetrics>) -> Self {
        CircuitBreaker {
            enabled,
            is_open: AtomicBool::new(false),
            account,
            state: Mutex::default(),
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.is_open.load(Relaxed)
    }

    pub(super) fn admit(&self) -> Result<ConnectAttempt, CircuitOpen> {
        let mut state = self.state.lock();
        if let Some(open) = &mut state.open {
            let now = Instant::now();
            if now < open.next_attempt {
                return Err(CircuitOpen(Arc::clone(&open.last_error)));
            }
            open.next_attempt = now + ATTEMPT_INTERVAL;
        }
        Ok(ConnectAttempt {
            opened_before: state.opened,
        })
    }

    /// The error of a refused attempt, while the circuit is open.
    pub(super) fn refusal(&self) -> Option<CircuitOpen> {
        let state = self.state.lock();
        let open = state.open.as_ref()?;
        Some(CircuitOpen(Arc::clone(&open.last_error)))
    }

    pub(super) fn record_opened(&self) {
        let mut state = self.state.lock();
        state.opened += 1;
        state.failures = 0;
        let was_open = state.open.take().is_some();
        self.is_open.store(false, Relaxed);
        drop(state);
        if was_open {
            tracing::info!(
                account = self.account.name(),
                "closed the circuit breaker: connections to the API can be opened again"
            );
        }
    }

    pub(super) fn record_failure(&self, attempt: ConnectAttempt, cause: &BoxError) {
        if !self.enabled {
            return;
        }
        let error = chain(cause.as_ref());
        let mut state = self.state.lock();
        if attempt.opened_before != state.opened {
            return;
        }
        state.failures += 1;
        let last_error = Arc::from(error.as_str());
        if let Some(open) = &mut state.open {
            open.last_error = last_error;
            return;
        }
        if state.failures < FAILURE_THRESHOLD {
            return;
        }
        state.open = Some(OpenState {
            next_attempt: Instant::now() + ATTEMPT_INTERVAL,
            last_error,
        });
        self.is_open.store(true, Relaxed);
        drop(state);
        self.account.record_circuit_opening();
        tracing::warn!(
            account = self.account.name(),
            error,
            "opened the circuit breaker: no connection to the API can be opened, and most requests that need \
             one fail at once"
        );
    }
}

#[derive(Debug, Default)]
struct BreakerState {
    /// Connections that have opened.
    opened: u64,
    /// Failures since the last of them.
    failures: u32,
    open: Option<OpenState>,
}

/// The state of an open circuit.
#[derive(Debug)]
struct OpenState {
    next_attempt: Instant,
    last_error: Arc<str>,
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn fail(circuit: &CircuitBreaker) {
        let attempt = circuit.admit().expect("the circuit is open");
        circuit.record_failure(attempt, &"dead".into());
    }

    /// A circuit that has just opened.
    fn open_circuit() -> CircuitBreaker {
        let circuit = CircuitBreaker::new(true, Arc::default());
        (0..FAILURE_THRESHOLD).for_each(|_| fail(&circuit));
        circuit
    }

    #[tokio::test(start_paused = true)]
    async fn five_consecutive_failures_open_the_circuit() {
        let circuit = CircuitBreaker::new(true, Arc::default());
        (0..FAILURE_THRESHOLD - 1).for_each(|_| fail(&circuit));
        circuit.record_opened();
        (0..FAILURE_THRESHOLD - 1).for_each(|_| fail(&circuit));
        assert!(!circuit.is_open());
        fail(&circuit);
        assert!(circuit.is_open());
        let error = circuit.admit().unwrap_err().to_string();
        assert_eq!(
            error,
            "connections to the API fail at the moment; the last attempt said: dead"
        );
        assert_eq!(circuit.account.circuit_openings(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_open_circuit_admits_one_attempt_per_100ms() {
        let circuit = open_circuit();
        let mut admitted = 0;
        for _ in 0..1000 {
            advance(Duration::from_millis(1)).await;
            admitted += u32::from(circuit.admit().is_ok());
        }
        assert_eq!(admitted, 10);
        // After any pause the next attempt is admitted, and the one after it is not.
        advance(ATTEMPT_INTERVAL * 100).await;
        fail(&circuit);
        assert!(circuit.admit().is_err());
        assert_eq!(
            circuit.account.circuit_openings(),
            1,
            "it was open all the time"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_connection_closes_the_circuit() {
        let circuit = open_circuit();
        let mut hanging = Vec::new();
        for _ in 0..10 {
            advance(ATTEMPT_INTERVAL).await;
            hanging.push(circuit.admit().unwrap());
        }
        circuit.record_opened();
        assert!(!circuit.is_open());
        for attempt in hanging {
            circuit.record_failure(attempt, &"took too long".into());
        }
        assert!(!circuit.is_open() && circuit.admit().is_ok());
        (0..FAILURE_THRESHOLD).for_each(|_| fail(&circuit));
        assert_eq!(circuit.account.circuit_openings(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_disabled_circuit_never_opens() {
        let circuit = CircuitBreaker::new(false, Arc::default());
        (0..FAILURE_THRESHOLD * 10).for_each(|_| fail(&circuit));
        assert!(!circuit.is_open());
    }
}
