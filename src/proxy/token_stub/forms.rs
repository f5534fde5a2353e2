//! Limit of login forms that the process reads at once: anyone may send one, without a key.
//!
//! A client that logs in sends its form within milliseconds. When all slots are taken, the oldest
//! form comes from a sender that is slow or silent, and is given up.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::telemetry::throttle::LogThrottle;

/// Forms that are read at once.
const MAX_FORMS: usize = 256;

/// The forms that are being read.
#[derive(Debug)]
pub(in crate::proxy) struct LoginForms {
    queue: Mutex<Queue>,
    /// Their number, for the metrics.
    count: Arc<AtomicUsize>,
    log_throttle: LogThrottle,
}

#[derive(Debug, Default)]
struct Queue {
    /// The oldest first.
    reading: VecDeque<Reading>,
    /// Never reused: a form that was given up must not remove another one.
    next_number: u64,
}

#[derive(Debug)]
struct Reading {
    number: u64,
    /// Dropped when the form is given up.
    _keeper: oneshot::Sender<()>,
}

impl LoginForms {
    /// No forms; `count` is kept up to date.
    pub(in crate::proxy) fn new(count: Arc<AtomicUsize>) -> Self {
        LoginForms {
            queue: Mutex::default(),
            count,
            log_throttle: LogThrottle::default(),
        }
    }

    /// Acquires a slot for one more form; without a free slot the oldest form is given up.
    pub(super) fn acquire(&self) -> FormSlot<'_> {
        let (keeper, given_up) = oneshot::channel();
        let mut queue = self.lock();
        let Queue {
            reading,
            next_number,
        } = &mut *queue;
        let number = *next_number;
        *next_number += 1;
        let oldest = if reading.len() >= MAX_FORMS {
            reading.pop_front()
        } else {
            None
        };
        reading.push_back(Reading {
            number,
            _keeper: keeper,
        });
        self.count.store(reading.len(), Relaxed);
        drop(queue);
        if oldest.is_some() && self.log_throttle.is_due() {
            tracing::warn!(
                limit = MAX_FORMS,
                "too many login forms at once; giving up the oldest ones"
            );
        }
        FormSlot {
            forms: self,
            number,
            given_up,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The slot of a form; released on drop.
#[derive(Debug)]
pub(super) struct FormSlot<'a> {
    forms: &'a LoginForms,
    number: u64,
    given_up: oneshot::Receiver<()>,
}

impl FormSlot<'_> {
    /// Returns when the form is to be given up.
    pub(super) async fn given_up(&mut self) {
        // Nothing is ever sent: the error means that the sender is dropped.
        let _ = (&mut self.given_up).await;
    }
}

impl Drop for FormSlot<'_> {
    fn drop(&mut self) {
        let reading = &mut self.forms.lock().reading;
        if let Ok(at) = reading.binary_search_by_key(&self.number, |reading| reading.number) {
            reading.remove(at);
        }
        self.forms.count.store(reading.len(), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn one_form_too_many_gives_up_the_oldest() {
        let count = Arc::new(AtomicUsize::new(0));
        let forms = LoginForms::new(Arc::clone(&count));
        let mut slots: Vec<_> = (0..MAX_FORMS).map(|_| forms.acquire()).collect();
        assert!(slots[0].given_up().now_or_never().is_none());
        drop(slots.remove(1));
        assert_eq!(count.load(Relaxed), MAX_FORMS - 1);
        slots.push(forms.acquire());
        assert!(
            slots[0].given_up().now_or_never().is_none(),
            "there was a free slot"
        );
        slots.push(forms.acquire());
        assert!(slots[0].given_up().now_or_never().is_some());
        assert!(slots[1].given_up().now_or_never().is_none());
        assert_eq!(count.load(Relaxed), MAX_FORMS);
        drop(slots);
        assert_eq!(count.load(Relaxed), 0);
    }

    #[tokio::test]
    async fn a_given_up_form_ends_no_later_one() {
        let count = Arc::new(AtomicUsize::new(0));
        let forms = LoginForms::new(Arc::clone(&count));
        let mut slots: Vec<_> = (0..=MAX_FORMS).map(|_| forms.acquire()).collect();
        let mut given_up = slots.remove(0);
        assert!(given_up.given_up().now_or_never().is_some());
        drop(slots);
        let mut later = forms.acquire();
        drop(given_up);
        assert_eq!(count.load(Relaxed), 1);
        assert!(later.given_up().now_or_never().is_none());
    }
}
