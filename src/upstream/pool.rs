//! HTTP/1.1 connections that wait for their next request.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Body;
use hyper::client::conn::http1::SendRequest;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::Times;
use super::progress::{ProgressBody, Watch};
use crate::rt::clock;

/// How long a connection may take, after an answer has ended, to be ready for the next request. It
/// waits for the rest of the request's body, which an answer may overtake.
pub(super) const SETTLE: Duration = Duration::from_secs(5);

/// A connection that carries one request at a time, with what belongs to it.
pub(super) struct Slot<B> {
    pub(super) sender: SendRequest<ProgressBody<B>>,
    pub(super) watch: Watch,
    /// When it takes no further request.
    retires: Instant,
}

impl<B> Slot<B> {
    /// A new connection, on which `watch` listens.
    pub(super) fn new(
        sender: SendRequest<ProgressBody<B>>,
        watch: Watch,
        retires: Instant,
    ) -> Self {
        Slot {
            sender,
            watch,
            retires,
        }
    }
}

/// Idle connections, and who waits for one. Its lock is the worker's own; only `retire` comes from
/// elsewhere.
pub(super) struct Pool<B> {
    /// `None` once nobody is to use them any more.
    state: Mutex<Option<State<B>>>,
    pub(super) times: Times,
}

struct State<B> {
    /// The one used last at the back; none while somebody waits.
    idle: VecDeque<Idle<B>>,
    /// Who came first at the front.
    waiting: VecDeque<oneshot::Sender<Slot<B>>>,
}

struct Idle<B> {
    slot: Slot<B>,
    since: Instant,
}

impl<B> Idle<B> {
    /// Whether it may be used at `then`, if it is not before.
    fn is_usable(&self, then: Instant, longest: Duration) -> bool {
        let Idle { slot, since } = self;
        !slot.sender.is_closed() && then < slot.retires && then.duration_since(*since) < longest
    }
}

impl<B> Pool<B> {
    pub(super) fn new(times: Times) -> Self {
        let state = State {
            idle: VecDeque::new(),
            waiting: VecDeque::new(),
        };
        Pool {
            state: Mutex::new(Some(state)),
            times,
        }
    }

    /// The living connection that was used last, unless it has been idle for longer than `most`,
    /// and for how long it has been: it is the least likely to be closed by the other side just
    /// now.
    pub(super) fn take(&self, most: Duration) -> Option<(Slot<B>, Duration)> {
        let mut state = self.lock();
        let idle = &mut state.as_mut()?.idle;
        let now = clock::now();
        while let Some(last) = idle.back() {
            let unused = now.duration_since(last.since);
            if unused > most {
                return None;
            }
            let Idle { slot, .. } = idle.pop_back()?;
            if slot.sender.is_ready() && unused < self.times.idle && now < slot.retires {
                return Some((slot, unused));
            }
        }
        None
    }

    /// The next connection that becomes idle and that nobody else waits for. Never comes where they
    /// are not to be used any more.
    pub(super) fn wait(&self) -> oneshot::Receiver<Slot<B>> {
        let (sender, receiver) = oneshot::channel();
        if let Some(State { waiting, .. }) = self.lock().as_mut() {
            while waiting.front().is_some_and(oneshot::Sender::is_closed) {
                waiting.pop_front();
            }
            waiting.push_back(sender);
        }
        receiver
    }

    fn put(&self, slot: Slot<B>) {
        let now = clock::now();
        if now >= slot.retires || slot.watch.is_deaf() {
            return;
        }
        let mut slot = slot;
        let mut state = self.lock();
        let Some(State { idle, waiting }) = state.as_mut() else {
            return;
        };
        while let Some(sender) = waiting.pop_front() {
            match sender.send(slot) {
                Ok(()) => return,
                // It has found another, or does not wait any more.
                Err(unwanted) => slot = unwanted,
            }
        }
        idle.push_back(Idle { slot, since: now });
    }

    /// How many could be taken now, and for so `long` still; no end of them where nobody is to use
    /// any.
    pub(super) fn ready(&self, long: Duration) -> usize {
        let then = Instant::now() + long;
        let ready = |idle: &&Idle<B>| idle.is_usable(then, self.times.idle);
        self.lock()
            .as_ref()
            .map_or(usize::MAX, |State { idle, .. }| {
                idle.iter().filter(ready).count()
            })
    }

    /// Closes connections that are too old, or have been idle for too long.
    pub(super) fn sweep(&self) {
        let now = Instant::now();
        let keeps = |idle: &Idle<B>| idle.is_usable(now, self.times.idle);
        if let Some(State { idle, .. }) = self.lock().as_mut() {
            idle.retain(keeps);
        }
    }

    /// Closes the connection that has been idle for longest, to make room for another one.
    pub(super) fn close_oldest(&self) {
        if let Some(State { idle, .. }) = self.lock().as_mut() {
            idle.pop_front();
        }
    }

    /// Closes those that are idle, and from now on each that becomes so.
    pub(super) fn retire(&self) {
        self.lock().take();
    }

    fn lock(&self) -> MutexGuard<'_, Option<State<B>>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B> Pool<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    /// Takes in a connection that has just been opened, for whoever comes.
    pub(super) async fn take_in(&self, mut slot: Slot<B>) {
        if slot.sender.ready().await.is_ok() {
            self.put(slot);
        }
    }

    /// Takes a connection back whose answer has ended.
    pub(super) fn take_back(self: &Arc<Self>, mut slot: Slot<B>) {
        if slot.sender.is_ready() {
            self.put(slot);
        } else if !slot.sender.is_closed() {
            let pool = Arc::clone(self);
            tokio::spawn(async move {
                if let Ok(Ok(())) = timeout(SETTLE, slot.sender.ready()).await {
                    pool.put(slot);
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Empty;
    use hyper::client::conn::http1::handshake;
    use hyper_util::rt::TokioIo;
    use tokio::time::advance;

    use super::*;
    use crate::upstream::timeouts::tests::times;

    #[tokio::test(start_paused = true)]
    async fn the_one_used_last_is_taken_unless_it_has_been_idle_for_too_long() {
        let times = times();
        let pool = Arc::new(Pool::<Empty<Bytes>>::new(times));
        let mut ends = Vec::new();
        for _ in 0..2 {
            let (io, end) = tokio::io::duplex(64);
            ends.push(end);
            let (mut sender, connection) = handshake(TokioIo::new(io)).await.unwrap();
            tokio::spawn(connection);
            sender.ready().await.unwrap();
            pool.take_back(Slot::new(sender, Watch::default(), times.retirement()));
            advance(Duration::from_millis(2)).await;
        }
        let millisecond = Duration::from_millis(1);
        assert!(pool.take(millisecond).is_none());
        let idle = |most: Duration| pool.take(most).map(|(_, idle)| idle);
        assert_eq!(
            idle(millisecond * 2),
            Some(millisecond * 2),
            "the one of before has stayed"
        );
        assert_eq!(idle(millisecond * 3), None);
        assert_eq!(idle(Duration::MAX), Some(millisecond * 4));
        assert_eq!(idle(Duration::MAX), None);
    }
}
