//! Permits for responses that are made for their request: each holds its page in memory until the caller has read it. While
//! all are held, those that are read for longest give way to who waits.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::downstream::{Peer, RefusalLog};
use crate::metrics::ConnectionRefusal;

/// Responses in memory at once: a page of metrics may have megabytes, and whoever asked for it may read slowly.
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
    /// Requests that wait for one.
    waiting: watch::Sender<usize>,
    refused: Arc<RefusalLog>,
}

/// A permit, for as long as the memory of the response is held.
#[derive(Debug)]
pub(super) struct Permit {
    _free: OwnedSemaphorePermit,
    /// Ends the connection if it is not dropped in time.
    deadline: JoinSet<()>,
}

struct Waiting<'a>(&'a watch::Sender<usize>);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl Permits {
    pub(super) fn new(refused: Arc<RefusalLog>) -> Self {
        Permits { free: Arc::new(Semaphore::new(MAX_PAGES)), waiting: watch::channel(0).0, refused }
    }

    /// A permit; `None` if there is none in time.
    pub(super) async fn acquire(&self) -> Option<Permit> {
        let free = match Arc::clone(&self.free).try_acquire_owned() {
            Ok(free) => free,
            Err(_) => {
                self.waiting.send_modify(|count| *count += 1);
                let _waiting = Waiting(&self.waiting);
                timeout(MAX_WAIT, Arc::clone(&self.free).acquire_owned()).await.ok()?.ok()?
            }
        };
        Some(Permit { _free: free, deadline: JoinSet::new() })
    }

    /// Ends the connection of `peer` unless it has read the response in time.
    pub(super) fn limit(&self, permit: &mut Permit, peer: &Arc<Peer>) {
        let (peer, refused) = (Arc::clone(peer), Arc::clone(&self.refused));
        let mut waiting = self.waiting.subscribe();
        permit.deadline.spawn(async move {
            sleep(MAX_CONTENDED_TIME).await;
            let contended = waiting.wait_for(|count| *count > 0);
            // An error means that nobody can wait any more.
            let _ = timeout(MAX_RESPONSE_TIME - MAX_CONTENDED_TIME, contended).await;
            refused.report(&peer, ConnectionRefusal::ResponseTimeout);
            if let Some(usage) = &peer.usage {
                usage.abort();
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::metrics::RefusedConnections;

    async fn held(permits: &Permits) -> Vec<Permit> {
        let mut held = Vec::new();
        for _ in 0..MAX_PAGES {
            held.push(permits.acquire().await.unwrap());
        }
        held
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_for_a_permit_ends() {
        let permits = Permits::new(RefusalLog::new("test", Arc::default()));
        let mut held = held(&permits).await;
        let began = Instant::now();
        assert!(permits.acquire().await.is_none());
        assert_eq!(began.elapsed(), MAX_WAIT);
        assert_eq!(*permits.waiting.borrow(), 0);
        held.pop();
        assert!(permits.acquire().await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_response_ends_sooner_while_others_wait() {
        for (waits, expected) in [(false, MAX_RESPONSE_TIME), (true, MAX_CONTENDED_TIME)] {
            let counts = Arc::new(RefusedConnections::default());
            let permits = Permits::new(RefusalLog::new("test", Arc::clone(&counts)));
            let mut held = held(&permits).await;
            let began = Instant::now();
            permits.limit(&mut held[0], &Arc::default());
            // One that is read in time is not ended.
            permits.limit(&mut held[1], &Arc::default());
            held.remove(1);
            let _again = permits.acquire().await.unwrap();
            let ended = held[0].deadline.join_next();
            let waiting = async {
                match waits {
                    true => drop(permits.acquire().await),
                    false => std::future::pending().await,
                }
            };
            tokio::select! {
                ended = ended => ended.unwrap().unwrap(),
                () = waiting => panic!("no response has given way"),
            }
            assert_eq!(began.elapsed(), expected);
            let count = counts.by_reason().find(|(reason, _)| *reason == ConnectionRefusal::ResponseTimeout);
            assert_eq!(count.map(|(_, count)| count), Some(1));
        }
    }
}
