//! Admission of requests to the process: a limit of requests in flight, and a fair queue.
//!
//! While permits are free, a permit is one count on one atomic. Otherwise a request waits in the
//! lane of its caller, and freed permits go round the lanes, so that a caller that floods the proxy
//! waits behind itself. When the queue is full, the longest lane loses its last request.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{
    AtomicBool, AtomicU64, AtomicUsize,
    Ordering::{Relaxed, SeqCst},
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::error::Error;
use crate::metrics::AdmissionMetrics;
use crate::telemetry::throttle::LogThrottle;

/// Permits and queue of the process.
#[derive(Debug)]
pub(in crate::proxy) struct AdmissionQueue {
    max_in_flight: AtomicUsize,
    max_queued: AtomicUsize,
    queue_timeout_ms: AtomicU64,
    /// Requests in flight, and in the queue: its length for readers without the lock.
    counts: Arc<AdmissionMetrics>,
    is_draining: AtomicBool,
    queue: Mutex<FairQueue>,
    log_throttle: LogThrottle,
}

/// One worker's handle of the queue. Permits clone this handle, whose reference count no other core
/// shares.
#[derive(Debug)]
pub(in crate::proxy) struct Admission(Arc<AdmissionQueue>);

/// Permit of a request in flight; released on drop.
#[derive(Debug)]
pub(in crate::proxy) struct AdmissionPermit(Arc<Admission>);

impl Drop for AdmissionPermit {
    fn drop(&mut self) {
        self.0.0.release();
    }
}

impl Admission {
    pub(in crate::proxy) fn new(queue: Arc<AdmissionQueue>) -> Arc<Self> {
        Arc::new(Admission(queue))
    }

    /// A permit, if one is free and no request waits for it.
    pub(in crate::proxy) fn try_acquire(self: &Arc<Self>) -> Option<AdmissionPermit> {
        let queue = &self.0;
        let is_free = queue.counts.queued.load(SeqCst) == 0 && queue.try_take();
        is_free.then(|| AdmissionPermit(Arc::clone(self)))
    }

    /// Waits for a permit in the lane of the caller with the number `lane`.
    ///
    /// # Errors
    /// `Overloaded` after `limits.queue_timeout` or when the queue is full; `Draining` when the
    /// process shuts down.
    pub(in crate::proxy) async fn acquire(
        self: &Arc<Self>,
        lane: usize,
    ) -> Result<AdmissionPermit, Error> {
        let queue = &self.0;
        let mut entry = self
            .enqueue(lane)
            .inspect_err(|error| queue.log_rejection(error))?;
        let queue_timeout = Duration::from_millis(queue.queue_timeout_ms.load(Relaxed));
        let error = match timeout(queue_timeout, &mut entry.permit).await {
            Ok(Ok(permit)) => return Ok(permit),
            Ok(Err(_)) if queue.is_draining.load(SeqCst) => Error::Draining,
            Ok(Err(_)) | Err(_) => Error::Overloaded,
        };
        queue.log_rejection(&error);
        Err(error)
    }

    fn enqueue(self: &Arc<Self>, lane: usize) -> Result<QueueEntry, Error> {
        let queue = &self.0;
        let mut lanes = queue.lock();
        if queue.is_draining.load(SeqCst) {
            return Err(Error::Draining);
        }
        if lanes.len >= queue.max_queued.load(Relaxed) && !lanes.evict_for(lane) {
            return Err(Error::Overloaded);
        }
        let (number, permit) = lanes.push(lane, Arc::clone(self));
        queue.counts.queued.store(lanes.len, SeqCst);
        drop(lanes);
        // A permit that was released before the new length was visible has gone to no request.
        queue.hand_out();
        Ok(QueueEntry {
            admission: Arc::clone(self),
            lane,
            number,
            permit,
        })
    }
}

impl AdmissionQueue {
    /// A queue that admits `max_in_flight` requests; `max_queued` more wait for `queue_timeout`.
    pub(in crate::proxy) fn new(
        max_in_flight: usize,
        max_queued: usize,
        queue_timeout: Duration,
        counts: Arc<AdmissionMetrics>,
    ) -> Self {
        AdmissionQueue {
            max_in_flight: AtomicUsize::new(max_in_flight),
            max_queued: AtomicUsize::new(max_queued),
            queue_timeout_ms: AtomicU64::new(milliseconds(queue_timeout)),
            counts,
            is_draining: AtomicBool::new(false),
            queue: Mutex::default(),
            log_throttle: LogThrottle::default(),
        }
    }

    /// Changes the limits. Requests in flight keep their permits; requests in the queue may be
    /// admitted.
    pub(in crate::proxy) fn resize(
        &self,
        max_in_flight: usize,
        max_queued: usize,
        queue_timeout: Duration,
    ) {
        self.max_in_flight.store(max_in_flight, SeqCst);
        self.max_queued.store(max_queued, SeqCst);
        self.queue_timeout_ms
            .store(milliseconds(queue_timeout), SeqCst);
        self.hand_out();
    }

    /// Rejects all queued requests, and all that would queue: while the process shuts down, requests
    /// in flight finish and none starts late.
    pub(in crate::proxy) fn drain(&self) {
        self.is_draining.store(true, SeqCst);
        let mut lanes = self.lock();
        let rejected = std::mem::take(&mut *lanes);
        self.counts.queued.store(0, SeqCst);
        drop(lanes);
        drop(rejected);
    }

    fn try_take(&self) -> bool {
        let max = self.max_in_flight.load(Relaxed);
        self.counts
            .in_flight
            .fetch_update(SeqCst, SeqCst, |taken| (taken < max).then_some(taken + 1))
            .is_ok()
    }

    fn release(&self) {
        self.counts.in_flight.fetch_sub(1, SeqCst);
        if self.counts.queued.load(SeqCst) > 0 {
            self.hand_out();
        }
    }

    /// Hands free permits to queued requests.
    fn hand_out(&self) {
        let mut returned = Vec::new();
        let mut lanes = self.lock();
        while lanes.len > 0 && self.try_take() {
            let Some(waiter) = lanes.pop() else {
                self.counts.in_flight.fetch_sub(1, SeqCst);
                break;
            };
            // A request leaves the queue under the lock, so its receiver is alive here. A permit
            // that comes back all the same is released after the lock.
            returned.extend(waiter.sender.send(AdmissionPermit(waiter.admission)).err());
        }
        self.counts.queued.store(lanes.len, SeqCst);
        drop(lanes);
        drop(returned);
    }

    fn remove(&self, lane: usize, number: u64) {
        let mut lanes = self.lock();
        lanes.remove(lane, number);
        self.counts.queued.store(lanes.len, SeqCst);
    }

    fn lock(&self) -> MutexGuard<'_, FairQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log_rejection(&self, error: &Error) {
        if matches!(error, Error::Overloaded) && self.log_throttle.is_due() {
            tracing::warn!(
                in_flight = self.counts.in_flight.load(SeqCst),
                queued = self.counts.queued.load(SeqCst),
                "requests are refused: as many are in flight as limits.max_in_flight lets; the API is slow, or callers send \
                 more than it takes"
            );
        }
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A queued request; leaves the queue on drop.
struct QueueEntry {
    admission: Arc<Admission>,
    lane: usize,
    number: u64,
    permit: oneshot::Receiver<AdmissionPermit>,
}

impl Drop for QueueEntry {
    fn drop(&mut self) {
        self.admission.0.remove(self.lane, self.number);
    }
}

/// Queued requests, in one lane for each caller.
#[derive(Debug, Default)]
struct FairQueue {
    lanes: HashMap<usize, VecDeque<Waiter>>,
    /// The lanes that are not empty, in the order of their turns.
    order: VecDeque<usize>,
    len: usize,
    last_number: u64,
}

/// The queue's end of a queued request.
#[derive(Debug)]
struct Waiter {
    number: u64,
    /// The handle of the request's worker.
    admission: Arc<Admission>,
    sender: oneshot::Sender<AdmissionPermit>,
}

impl FairQueue {
    fn push(
        &mut self,
        lane: usize,
        admission: Arc<Admission>,
    ) -> (u64, oneshot::Receiver<AdmissionPermit>) {
        let (sender, permit) = oneshot::channel();
        self.last_number += 1;
        let number = self.last_number;
        let waiters = self.lanes.entry(lane).or_default();
        if waiters.is_empty() {
            self.order.push_back(lane);
        }
        waiters.push_back(Waiter {
            number,
            admission,
            sender,
        });
        self.len += 1;
        (number, permit)
    }

    /// The first request of the next lane, which then becomes the last lane.
    fn pop(&mut self) -> Option<Waiter> {
        let lane = self.order.pop_front()?;
        let waiters = self.lanes.get_mut(&lane)?;
        let waiter = waiters.pop_front()?;
        self.len -= 1;
        if waiters.is_empty() {
            self.lanes.remove(&lane);
        } else {
            self.order.push_back(lane);
        }
        Some(waiter)
    }

    fn remove(&mut self, lane: usize, number: u64) {
        let Some(waiters) = self.lanes.get_mut(&lane) else {
            return;
        };
        // The numbers of a lane ascend.
        let Ok(at) = waiters.binary_search_by_key(&number, |waiter| waiter.number) else {
            return;
        };
        waiters.remove(at);
        self.len -= 1;
        if waiters.is_empty() {
            self.lanes.remove(&lane);
            self.order.retain(|other| *other != lane);
        }
    }

    /// Evicts the last request of the longest lane, if that lane is longer than `lane` would be.
    fn evict_for(&mut self, lane: usize) -> bool {
        let own = self.lanes.get(&lane).map_or(0, VecDeque::len);
        let longest = self.lanes.iter().max_by_key(|(_, waiters)| waiters.len());
        let Some((&longest, waiters)) = longest.filter(|(_, waiters)| waiters.len() > own + 1)
        else {
            return false;
        };
        let Some(number) = waiters.back().map(|waiter| waiter.number) else {
            return false;
        };
        self.remove(longest, number);
        true
    }
}

#[cfg(test)]
mod tests;
