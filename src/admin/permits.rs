//! Permits for responses that are made for their request: each holds its page in memory until the
//! caller has read it. While all are held, the response that is read for longest gives way to the
//! request that waits for longest, one for each.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::downstream::{PeerInfo, RefusalLog};
use crate::metrics::ConnectionRefusal;

/// Responses in memory at once: a page of metrics may have megabytes, and whoever asked for it may
/// read slowly.
const MAX_PAGES: usize = 8;

/// The longest that a response may be read, and while others wait for a permit.
const MAX_RESPONSE_TIME: Duration = Duration::from_secs(20);
const MAX_CONTENDED_TIME: Duration = Duration::from_secs(2);

/// The longest wait for a permit: shorter than Prometheus waits for a response.
const MAX_WAIT: Duration = Duration::from_secs(8);

/// Permits for responses.
#[derive(Debug)]
pub(super) struct Permits {
    free: Arc<Semaphore>,
    /// Held by the request that gets the next free permit; the others wait for it in their order.
    turn: tokio::sync::Mutex<()>,
    /// Callers that read a response and have not been cut off, the oldest first.
    readers: Mutex<VecDeque<Weak<Reader>>>,
    refused: Arc<RefusalLog>,
}

/// A permit, for as long as the memory of the response is held.
#[derive(Debug)]
pub(super) struct Permit {
    /// Dropped before the permit is free: who has read its response is not cut off for another.
    reader: Option<Arc<Reader>>,
    _free: OwnedSemaphorePermit,
    /// Ends the connection if it is not dropped in time.
    deadline: JoinSet<()>,
}

/// A caller that reads its response.
#[derive(Debug)]
struct Reader {
    since: Instant,
    peer: Arc<PeerInfo>,
    refused: Arc<RefusalLog>,
}

impl Reader {
    fn cut_off(&self) {
        self.refused
            .report(&self.peer, ConnectionRefusal::ResponseTimeout);
        if let Some(usage) = &self.peer.usage {
            usage.abort();
        }
    }
}

impl Permits {
    pub(super) fn new(refused: Arc<RefusalLog>) -> Self {
        let free = Arc::new(Semaphore::new(MAX_PAGES));
        Permits {
            free,
            turn: Default::default(),
            readers: Mutex::default(),
            refused,
        }
    }

    /// A permit; `None` if there is none in time.
    pub(super) async fn acquire(&self) -> Option<Permit> {
        let free = match Arc::clone(&self.free).try_acquire_owned() {
            Ok(free) => free,
            Err(_) => timeout(MAX_WAIT, self.wait()).await.ok()??,
        };
        Some(Permit {
            reader: None,
            _free: free,
            deadline: JoinSet::new(),
        })
    }

    /// Waits for a permit. Cuts off one reader at most: what that gives back is for this request
    /// alone.
    async fn wait(&self) -> Option<OwnedSemaphorePermit> {
        let _turn = self.turn.lock().await;
        let mut free = pin!(Arc::clone(&self.free).acquire_owned());
        tokio::select! {
            biased;
            free = &mut free => return free.ok(),
            () = self.cut_off_oldest() => {}
        }
        free.await.ok()
    }

    /// Cuts off the oldest reader as soon as it has had its time.
    async fn cut_off_oldest(&self) {
        loop {
            // With no reader, all permits are held for responses that are still being made.
            let since = self
                .oldest()
                .map_or_else(Instant::now, |oldest| oldest.since);
            sleep_until(since + MAX_CONTENDED_TIME).await;
            // It may have read its response meanwhile.
            if let Some(oldest) = self.oldest()
                && oldest.since <= since
            {
                self.readers().pop_front();
                return oldest.cut_off();
            }
        }
    }

    fn oldest(&self) -> Option<Arc<Reader>> {
        self.readers().front()?.upgrade()
    }

    /// The readers that have not read their response.
    fn readers(&self) -> MutexGuard<'_, VecDeque<Weak<Reader>>> {
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        readers.retain(|reader| reader.strong_count() > 0);
        readers
    }

    /// Ends the connection of `peer` unless it has read the response in time.
    pub(super) fn limit(&self, permit: &mut Permit, peer: &Arc<PeerInfo>) {
        let (peer, refused) = (Arc::clone(peer), Arc::clone(&self.refused));
        let reader = Arc::new(Reader {
            since: Instant::now(),
            peer,
            refused,
        });
        let weak = Arc::downgrade(&reader);
        self.readers().push_back(Weak::clone(&weak));
        permit.reader = Some(reader);
        permit.deadline.spawn(async move {
            sleep(MAX_RESPONSE_TIME).await;
            if let Some(reader) = weak.upgrade() {
                reader.cut_off();
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::RefusedConnections;

    /// Permits that count in what is returned with them.
    fn counted() -> (Permits, Arc<RefusedConnections>) {
        let counts = Arc::new(RefusedConnections::default());
        (
            Permits::new(RefusalLog::new("test", Arc::clone(&counts))),
            counts,
        )
    }

    fn cut_off(counts: &RefusedConnections) -> u64 {
        let count = counts
            .by_reason()
            .find(|(reason, _)| *reason == ConnectionRefusal::ResponseTimeout);
        count.unwrap().1
    }

    /// All permits, each for a response that began a second after the one before.
    async fn held(permits: &Permits) -> VecDeque<Permit> {
        let mut held = VecDeque::new();
        for _ in 0..MAX_PAGES {
            sleep(Duration::from_secs(1)).await;
            let mut permit = permits.acquire().await.unwrap();
            permits.limit(&mut permit, &Arc::default());
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
        assert_eq!(began.elapsed(), MAX_WAIT);
        held.pop_front();
        assert!(permits.acquire().await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_response_that_nobody_waits_for_has_its_time() {
        let (permits, counts) = counted();
        let mut held: Vec<_> = held(&permits).await.into();
        let began = held[6].reader.as_ref().unwrap().since;
        // One that is read in time is not ended.
        held.drain(7..);
        held.drain(..6);
        held[0].deadline.join_next().await.unwrap().unwrap();
        assert_eq!((began.elapsed(), cut_off(&counts)), (MAX_RESPONSE_TIME, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_response_gives_way_one_for_each_who_waits() {
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
            // Whatever time it takes to give the permit back, no second response gives way for it.
            sleep(MAX_CONTENDED_TIME).await;
            assert_eq!(cut_off(&counts), round);
            let oldest = permits.oldest().unwrap();
            assert!(
                Arc::ptr_eq(&oldest, held[1].reader.as_ref().unwrap()),
                "round {round}"
            );
            held.pop_front();
            granted.push(waiting.join_next().await.unwrap().unwrap());
        }
        sleep(MAX_CONTENDED_TIME).await;
        assert_eq!(cut_off(&counts), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_response_has_two_seconds_while_others_wait() {
        let (permits, counts) = counted();
        let mut held: Vec<_> = held(&permits).await.into();
        // The newest alone is read, since now.
        for permit in &mut held[..MAX_PAGES - 1] {
            permit.reader = None;
        }
        let began = Instant::now();
        let cut = async {
            while cut_off(&counts) == 0 {
                sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            () = cut => {}
            _ = permits.acquire() => panic!("no permit has come back"),
        }
        let elapsed = began.elapsed();
        assert!(
            (MAX_CONTENDED_TIME..MAX_CONTENDED_TIME + Duration::from_millis(5)).contains(&elapsed)
        );
    }
}
