//! Fails at once what would only wait: while no connection to the API can be opened, most requests
//! that need one are told so, rather than each waiting for `upstream.connect_timeout`.
//!
//! ```text
//!             5 attempts in a row have failed
//!    closed ──────────────────────────────────▶ open ──┐ every 100 ms one
//!       ▲                                        │     │ attempt is let through
//!       └────────────────────────────────────────┘ ◀───┘
//!                 a connection has opened
//! ```
//!
//! It must never be the reason why something fails. So it looks at nothing but attempts to open a
//! connection, and is asked by nobody who has one; a request is let through every 100 ms, however
//! long those before it still wait; and what an attempt says counts only if no connection has
//! opened since it began.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::error::{BoxError, chain};
use crate::metrics::ConnectionMetrics;

/// Attempts that fail in a row before it opens.
const FAILURES: u32 = 5;

/// How long after an attempt the next is let through while it is open.
const PAUSE: Duration = Duration::from_millis(100);

/// The circuit of one upstream.
#[derive(Debug)]
pub(super) struct CircuitBreaker {
    enabled: bool,
    /// Whether it is open, for those who only want to know that.
    open: AtomicBool,
    connections: Arc<ConnectionMetrics>,
    /// Locked only when a connection is to be opened, has opened or has failed to.
    state: Mutex<State>,
}

/// Leave to try to open one connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    /// The connections that had opened before it.
    opened: u64,
}

/// Why none is tried.
#[derive(Clone, Debug, thiserror::Error)]
#[error("connections to the API fail at the moment; the last attempt said: {0}")]
pub(super) struct Refused(Arc<str>);

impl CircuitBreaker {
    /// One that is closed, and stays so unless it is `enabled`.
    pub(super) fn new(enabled: bool, connections: Arc<ConnectionMetrics>) -> Self {
        CircuitBreaker {
            enabled,
            open: AtomicBool::new(false),
            connections,
            state: Mutex::default(),
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.load(Relaxed)
    }

    /// Leave to try now.
    pub(super) fn admit(&self) -> Result<Attempt, Refused> {
        self.state().admit(Instant::now())
    }

    /// What is said to who is not let through, while it is open.
    pub(super) fn refused(&self) -> Option<Refused> {
        let state = self.state();
        state
            .open
            .as_ref()
            .map(|open| Refused(Arc::clone(&open.why)))
    }

    /// Notes that a connection has opened.
    pub(super) fn note_opened(&self) {
        let mut state = self.state();
        let has_closed = state.note_opened();
        self.open.store(false, Relaxed);
        drop(state);
        if has_closed {
            tracing::info!("connections to the API can be opened again");
        }
    }

    /// Notes that `attempt` has failed.
    pub(super) fn note_failed(&self, attempt: Attempt, cause: &BoxError) {
        if !self.enabled {
            return;
        }
        let why = chain(cause.as_ref());
        let mut state = self.state();
        let has_opened = state.note_failed(attempt, Arc::from(why.as_str()), Instant::now());
        self.open.store(state.open.is_some(), Relaxed);
        drop(state);
        if has_opened {
            self.connections.record_circuit_opening();
            tracing::warn!(
                error = why,
                "no connection to the API can be opened; until one can, most requests that need one fail at once"
            );
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What it decides by.
#[derive(Debug, Default)]
struct State {
    /// Connections that have opened.
    opened: u64,
    /// Attempts that have failed since the last of them.
    failures: u32,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    /// When the next attempt is let through.
    next: Instant,
    /// What the last one said.
    why: Arc<str>,
}

impl State {
    fn admit(&mut self, now: Instant) -> Result<Attempt, Refused> {
        match &mut self.open {
            Some(open) if now < open.next => return Err(Refused(Arc::clone(&open.why))),
            Some(open) => open.next = now + PAUSE,
            None => {}
        }
        Ok(Attempt {
            opened: self.opened,
        })
    }

    /// Whether that closes it.
    fn note_opened(&mut self) -> bool {
        self.opened += 1;
        self.failures = 0;
        self.open.take().is_some()
    }

    /// Whether that opens it.
    fn note_failed(&mut self, attempt: Attempt, why: Arc<str>, now: Instant) -> bool {
        if attempt.opened != self.opened {
            return false;
        }
        self.failures += 1;
        match &mut self.open {
            Some(open) => open.why = why,
            None if self.failures >= FAILURES => {
                self.open = Some(Open {
                    next: now + PAUSE,
                    why,
                });
                return true;
            }
            None => {}
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn fail(circuit: &CircuitBreaker) {
        let attempt = circuit.admit().expect("it is open");
        circuit.note_failed(attempt, &"dead".into());
    }

    /// One that has just opened.
    fn opened() -> CircuitBreaker {
        let circuit = CircuitBreaker::new(true, Arc::default());
        (0..FAILURES).for_each(|_| fail(&circuit));
        circuit
    }

    #[tokio::test(start_paused = true)]
    async fn it_opens_after_five_failures_in_a_row_and_says_why() {
        let circuit = CircuitBreaker::new(true, Arc::default());
        (0..FAILURES - 1).for_each(|_| fail(&circuit));
        circuit.note_opened();
        (0..FAILURES - 1).for_each(|_| fail(&circuit));
        assert!(!circuit.is_open());
        fail(&circuit);
        assert!(circuit.is_open());
        let told = circuit.admit().unwrap_err().to_string();
        assert_eq!(
            told,
            "connections to the API fail at the moment; the last attempt said: dead"
        );
        assert_eq!(circuit.connections.circuit_openings(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn while_it_is_open_one_attempt_is_let_through_every_100_ms_though_earlier_ones_hang() {
        let circuit = opened();
        let mut admitted = 0;
        for _ in 0..1000 {
            advance(Duration::from_millis(1)).await;
            admitted += u32::from(circuit.admit().is_ok());
        }
        assert_eq!(admitted, 10);
        // However long nobody came, the next is let through, and the one after it is not.
        advance(PAUSE * 100).await;
        fail(&circuit);
        assert!(circuit.admit().is_err());
        assert_eq!(
            circuit.connections.circuit_openings(),
            1,
            "it was open all the time"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_connection_closes_it_and_attempts_that_began_before_do_not_count() {
        let circuit = opened();
        let mut hanging = Vec::new();
        for _ in 0..10 {
            advance(PAUSE).await;
            hanging.push(circuit.admit().unwrap());
        }
        circuit.note_opened();
        assert!(!circuit.is_open());
        for attempt in hanging {
            circuit.note_failed(attempt, &"took too long".into());
        }
        assert!(!circuit.is_open() && circuit.admit().is_ok());
        (0..FAILURES).for_each(|_| fail(&circuit));
        assert_eq!(circuit.connections.circuit_openings(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_not_enabled_never_opens() {
        let circuit = CircuitBreaker::new(false, Arc::default());
        (0..FAILURES * 10).for_each(|_| fail(&circuit));
        assert!(!circuit.is_open());
    }
}
