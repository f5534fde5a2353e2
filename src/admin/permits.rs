//! Permits for generated responses: each is in memory until the peer has read it. While all permits
//! are taken, each waiting request aborts one response, the one that has been read for longest.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::downstream::{PeerInfo, RefusalLog};
use crate::metrics::ConnectionRefusal;

/// Responses in memory: one of `/metrics` may take megabytes, and its peer may read slowly.
const MAX_RESPONSES: usize = 8;

/// Time to read a response, and the time while other requests wait for a permit.
const READ_TIMEOUT: Duration = Duration::from_secs(20);
const CONTENDED_READ_TIMEOUT: Duration = Duration::from_secs(2);

/// Timeout of the wait for a permit, below the scrape timeout of Prometheus (10 s).
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(8);

/// Permits for responses.
#[derive(Debug)]
pub(super) struct ResponsePermits {
    free: Arc<Semaphore>,
    /// Held by the request that gets the next free permit; the others queue for it in order.
    turn: tokio::sync::Mutex<()>,
    /// Peers that are reading a response, the oldest first.
    readers: Mutex<VecDeque<Weak<ResponseReader>>>,
    refused: Arc<RefusalLog>,
}

/// Permit of one response in memory.
#[derive(Debug)]
pub(super) struct ResponsePermit {
    /// Dropped before the permit is free: a peer that has read its response is not aborted.
    reader: Option<Arc<ResponseReader>>,
    _free: OwnedSemaphorePermit,
    /// Aborts the connection unless it is dropped in time.
    deadline: JoinSet<()>,
}

/// A peer that is reading a response.
#[derive(Debug)]
struct ResponseReader {
    started: Instant,
    peer: Arc<PeerInfo>,
    refused: Arc<RefusalLog>,
}

impl ResponseReader {
    fn abort(&self) {
        self.refused
            .report(&self.peer, ConnectionRefusal::ResponseTimeout);
        if let Some(usage) = &self.peer.usage {
            usage.abort();
        }
    }
}

impl ResponsePermits {
    pub(super) fn new(refused: Arc<RefusalLog>) -> Self {
        let free = Arc::new(Semaphore::new(MAX_RESPONSES));
        ResponsePermits {
            free,
            turn: Default::default(),
            readers: Mutex::default(),
            refused,
        }
    }

    /// Waits for a permit; `None` after [`ACQUIRE_TIMEOUT`].
    pub(super) async fn acquire(&self) -> Option<ResponsePermit> {
        let free = match Arc::clone(&self.free).try_acquire_owned() {
            Ok(free) => free,
            Err(_) => timeout(ACQUIRE_TIMEOUT, self.wait()).await.ok()??,
        };
        Some(ResponsePermit {
            reader: None,
            _free: free,
            deadline: JoinSet::new(),
        })
    }

    /// Waits for a permit. Aborts one response at most: its permit is for this request.
    async fn wait(&self) -> Option<OwnedSemaphorePermit> {
        let _turn = self.turn.lock().await;
        let mut free = pin!(Arc::clone(&self.free).acquire_owned());
        tokio::select! {
            biased;
            free = &mut free => return free.ok(),
            () = self.abort_oldest() => {}
        }
        free.await.ok()
    }

    /// Aborts the oldest response once its contended timeout has passed.
    async fn abort_oldest(&self) {
        loop {
            // Without a reader, all permits belong to responses that are still being made.
            let started = self
                .oldest()
                .map_or_else(Instant::now, |oldest| oldest.started);
            sleep_until(started + CONTENDED_READ_TIMEOUT).await;
            // The reader may have finished in the meantime.
            if let Some(oldest) = self.oldest()
                && oldest.started <= started
            {
                self.readers().pop_front();
                return oldest.abort();
            }
        }
    }

    fn oldest(&self) -> Option<Arc<ResponseReader>> {
        self.readers().front()?.upgrade()
    }

    /// The readers that have not finished.
    fn readers(&self) -> MutexGuard<'_, VecDeque<Weak<ResponseReader>>> {
        let mut readers = self.readers.lock();
        readers.retain(|reader| reader.strong_count() > 0);
        readers
    }

    /// Starts the deadline of `peer` to read the response; after it the connection is aborted.
    pub(super) fn start_deadline(&self, permit: &mut ResponsePermit, peer: &Arc<PeerInfo>) {
        let (peer, refused) = (Arc::clone(peer), Arc::clone(&self.refused));
        let reader = Arc::new(ResponseReader {
            started: Instant::now(),
            peer,
            refused,
        });
        let weak = Arc::downgrade(&reader);
        self.readers().push_back(Weak::clone(&weak));
        permit.reader = Some(reader);
        permit.deadline.spawn(async move {
            sleep(READ_TIMEOUT).await;
            if let Some(reader) = weak.upgrade() {
                reader.abort();
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::RefusedConnections;

    /// Permits, and the counters of the responses that they abort.
    fn counted() -> (ResponsePermits, Arc<RefusedConnections>) {
        let counts = Arc::new(RefusedConnections::default());
        (
            ResponsePermits::new(RefusalLog::new("test", Arc::clone(&counts))),
            counts,
        )
    }

    fn aborted(counts: &RefusedConnections) -> u64 {
        let count = counts
            .by_reason()
            .find(|(reason, _)| *reason == ConnectionRefusal::ResponseTimeout);
        count.unwrap().1
    }

    /// Takes all permits, one per second.
    async fn held(permits: &ResponsePermits) -> VecDeque<ResponsePermit> {
        let mut held = VecDeque::new();
        for _ in 0..MAX_RESPONSES {
            sleep(Duration::from_secs(1)).await;
            let mut permit = permits.acquire().await.unwrap();
            permits.start_deadline(&mut permit, &Arc::default());
            held.push_back(permit);
        }
        held
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_for_a_permit_ends() {
        let (permits, _) = counted();
        let mut held = held(&permits).await;
        let began = Instant::now();
        assert!(permits.acquire().await.is_none());
        assert_eq!(began.elapsed(), ACQUIRE_TIMEOUT);
        held.pop_front();
        assert!(permits.acquire().await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn an_uncontended_response_is_aborted_after_its_timeout() {
        let (permits, counts) = counted();
        let mut held: Vec<_> = held(&permits).await.into();
        let began = held[6].reader.as_ref().unwrap().started;
        // A response that is read in time is not aborted.
        held.drain(7..);
        held.drain(..6);
        held[0].deadline.join_next().await.unwrap().unwrap();
        assert_eq!((began.elapsed(), aborted(&counts)), (READ_TIMEOUT, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn each_waiting_request_aborts_the_oldest_response() {
        let (permits, counts) = counted();
        let permits = Arc::new(permits);
        let mut held = held(&permits).await;
        let mut waiting = JoinSet::new();
        for _ in 0..2 {
            let permits = Arc::clone(&permits);
            waiting.spawn(async move { permits.acquire().await.unwrap() });
        }
        let mut granted = Vec::new();
        for round in 1..=2 {
            // However late the permit comes back, no second response is aborted for it.
            sleep(CONTENDED_READ_TIMEOUT).await;
            assert_eq!(aborted(&counts), round);
            let oldest = permits.oldest().unwrap();
            assert!(
                Arc::ptr_eq(&oldest, held[1].reader.as_ref().unwrap()),
                "round {round}"
            );
            held.pop_front();
            granted.push(waiting.join_next().await.unwrap().unwrap());
        }
        sleep(CONTENDED_READ_TIMEOUT).await;
        assert_eq!(aborted(&counts), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_contended_response_has_two_seconds() {
        let (permits, counts) = counted();
        let mut held: Vec<_> = held(&permits).await.into();
        // Only the newest response is still being read, since now.
        for permit in &mut held[..MAX_RESPONSES - 1] {
            permit.reader = None;
        }
        let began = Instant::now();
        let cut = async {
            while aborted(&counts) == 0 {
                sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            () = cut => {}
            _ = permits.acquire() => panic!("no permit has come back"),
        }
        let elapsed = began.elapsed();
        assert!(
            (CONTENDED_READ_TIMEOUT..CONTENDED_READ_TIMEOUT + Duration::from_millis(5))
                .contains(&elapsed)
        );
    }
}
