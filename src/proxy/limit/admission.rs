//! How much is in flight in the whole process, and who waits for a place.
//!
//! A place is one count on one atomic as long as there are places. Only when there is none does a
//! request wait, in the lane of its caller, and places go round the lanes: who sends a flood waits
//! behind itself. When all room for waiting is taken, the longest lane gives up its last.

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

/// The places of a process.
#[derive(Debug)]
pub(in crate::proxy) struct Gate {
    most: AtomicUsize,
    most_waiting: AtomicUsize,
    /// In milliseconds.
    patience: AtomicU64,
    /// How many are taken, and how many wait: what is in the lanes, for those who have no lock.
    places: Arc<AdmissionMetrics>,
    is_draining: AtomicBool,
    lanes: Mutex<FairQueue>,
    told: LogThrottle,
}

/// The gate, as one worker comes to it: what is cloned for each request is the worker's own, and no
/// count that cores share.
#[derive(Debug)]
pub(in crate::proxy) struct Door(Arc<Gate>);

/// A place, until it is dropped.
#[derive(Debug)]
pub(in crate::proxy) struct Place(Arc<Door>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.free();
    }
}

impl Door {
    /// A door of `gate`.
    pub(in crate::proxy) fn new(gate: Arc<Gate>) -> Arc<Self> {
        Arc::new(Door(gate))
    }

    /// A place, if one is free and nobody waits for it.
    pub(in crate::proxy) fn enter(self: &Arc<Self>) -> Option<Place> {
        (self.0.places.queued.load(SeqCst) == 0 && self.0.take()).then(|| Place(Arc::clone(self)))
    }

    /// Waits for a place in the lane of the caller with the number `lane`.
    ///
    /// # Errors
    /// `Overloaded` when it takes too long, or no room is left to wait; `Draining` when the process
    /// is about to end.
    pub(in crate::proxy) async fn wait(self: &Arc<Self>, lane: usize) -> Result<Place, Error> {
        let gate = &self.0;
        let mut waiting = self.queue_up(lane).inspect_err(|error| gate.tell(error))?;
        let answered = timeout(
            Duration::from_millis(gate.patience.load(Relaxed)),
            &mut waiting.turn,
        )
        .await;
        let refused = match answered {
            Ok(Ok(place)) => return Ok(place),
            Ok(Err(_)) if gate.is_draining.load(SeqCst) => Error::Draining,
            Ok(Err(_)) | Err(_) => Error::Overloaded,
        };
        gate.tell(&refused);
        Err(refused)
    }

    fn queue_up(self: &Arc<Self>, lane: usize) -> Result<Waiting, Error> {
        let gate = &self.0;
        let mut lanes = gate.lock();
        if gate.is_draining.load(SeqCst) {
            return Err(Error::Draining);
        }
        if lanes.count >= gate.most_waiting.load(Relaxed) && !lanes.make_room_for(lane) {
            return Err(Error::Overloaded);
        }
        let (turn, ticket) = lanes.add(lane, Arc::clone(self));
        gate.places.queued.store(lanes.count, SeqCst);
        drop(lanes);
        // A place that was freed before it was seen that somebody waits has been given to nobody.
        gate.admit();
        Ok(Waiting {
            door: Arc::clone(self),
            lane,
            ticket,
            turn,
        })
    }
}

impl Gate {
    /// A gate with `most` places, before which `most_waiting` requests wait, for `patience`.
    pub(in crate::proxy) fn new(
        most: usize,
        most_waiting: usize,
        patience: Duration,
        places: Arc<AdmissionMetrics>,
    ) -> Self {
        Gate {
            most: AtomicUsize::new(most),
            most_waiting: AtomicUsize::new(most_waiting),
            patience: AtomicU64::new(milliseconds(patience)),
            places,
            is_draining: AtomicBool::new(false),
            lanes: Mutex::default(),
            told: LogThrottle::default(),
        }
    }

    /// Other numbers from now on; who is in flight stays, and who waits may go on.
    pub(in crate::proxy) fn change(&self, most: usize, most_waiting: usize, patience: Duration) {
        self.most.store(most, SeqCst);
        self.most_waiting.store(most_waiting, SeqCst);
        self.patience.store(milliseconds(patience), SeqCst);
        self.admit();
    }

    /// Sends away all who wait, and who would: what is in flight is to finish, and nothing to begin
    /// late.
    pub(in crate::proxy) fn drain(&self) {
        self.is_draining.store(true, SeqCst);
        let mut lanes = self.lock();
        let waiting = std::mem::take(&mut *lanes);
        self.places.queued.store(0, SeqCst);
        drop(lanes);
        drop(waiting);
    }

    fn take(&self) -> bool {
        let most = self.most.load(Relaxed);
        self.places
            .in_flight
            .fetch_update(SeqCst, SeqCst, |taken| (taken < most).then_some(taken + 1))
            .is_ok()
    }

    fn free(&self) {
        self.places.in_flight.fetch_sub(1, SeqCst);
        if self.places.queued.load(SeqCst) > 0 {
            self.admit();
        }
    }

    /// Gives free places to those who wait.
    fn admit(&self) {
        let mut left = Vec::new();
        let mut lanes = self.lock();
        while lanes.count > 0 && self.take() {
            let Some((door, next)) = lanes.next() else {
                self.places.in_flight.fetch_sub(1, SeqCst);
                break;
            };
            // Nobody goes before `leave` had the lock. A place that came back all the same is freed
            // once the lock is.
            left.extend(next.send(Place(door)).err());
        }
        self.places.queued.store(lanes.count, SeqCst);
        drop(lanes);
        drop(left);
    }

    fn leave(&self, lane: usize, ticket: u64) {
        let mut lanes = self.lock();
        lanes.remove(lane, ticket);
        self.places.queued.store(lanes.count, SeqCst);
    }

    fn lock(&self) -> MutexGuard<'_, FairQueue> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, refused: &Error) {
        if matches!(refused, Error::Overloaded) && self.told.is_due() {
            tracing::warn!(
                in_flight = self.places.in_flight.load(SeqCst),
                waiting = self.places.queued.load(SeqCst),
                "requests are refused: as many are in flight as limits.max_in_flight lets; the API is slow, or callers send \
                 more than it takes"
            );
        }
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Somebody who waits. Whoever goes away leaves no trace.
struct Waiting {
    door: Arc<Door>,
    lane: usize,
    ticket: u64,
    turn: oneshot::Receiver<Place>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.door.0.leave(self.lane, self.ticket);
    }
}

/// Who waits, by caller.
#[derive(Debug, Default)]
struct FairQueue {
    lanes: HashMap<usize, VecDeque<Turn>>,
    /// The lanes in which somebody waits, the next one first.
    order: VecDeque<usize>,
    count: usize,
    tickets: u64,
}

/// Somebody's turn, when it comes: the ticket, the door of its worker, and where the place is
/// waited for.
type Turn = (u64, Arc<Door>, oneshot::Sender<Place>);

impl FairQueue {
    fn add(&mut self, lane: usize, door: Arc<Door>) -> (oneshot::Receiver<Place>, u64) {
        let (sender, turn) = oneshot::channel();
        self.tickets += 1;
        let waiting = self.lanes.entry(lane).or_default();
        if waiting.is_empty() {
            self.order.push_back(lane);
        }
        waiting.push_back((self.tickets, door, sender));
        self.count += 1;
        (turn, self.tickets)
    }

    /// The first of the next lane, which then goes to the end.
    fn next(&mut self) -> Option<(Arc<Door>, oneshot::Sender<Place>)> {
        let lane = self.order.pop_front()?;
        let waiting = self.lanes.get_mut(&lane)?;
        let (_, door, next) = waiting.pop_front()?;
        self.count -= 1;
        match waiting.is_empty() {
            true => drop(self.lanes.remove(&lane)),
            false => self.order.push_back(lane),
        }
        Some((door, next))
    }

    fn remove(&mut self, lane: usize, ticket: u64) {
        let Some(waiting) = self.lanes.get_mut(&lane) else {
            return;
        };
        // Tickets are given in order, and taken out of the middle only by those who go.
        let Ok(at) = waiting.binary_search_by_key(&ticket, |(ticket, ..)| *ticket) else {
            return;
        };
        waiting.remove(at);
        self.count -= 1;
        if waiting.is_empty() {
            self.lanes.remove(&lane);
            self.order.retain(|other| *other != lane);
        }
    }

    /// Sends the last of the longest lane away, if that is longer than `lane` would be.
    fn make_room_for(&mut self, lane: usize) -> bool {
        let own = self.lanes.get(&lane).map_or(0, VecDeque::len);
        let longest = self.lanes.iter().max_by_key(|(_, waiting)| waiting.len());
        let Some((&longest, waiting)) = longest.filter(|(_, waiting)| waiting.len() > own + 1)
        else {
            return false;
        };
        let Some(&(last, ..)) = waiting.back() else {
            return false;
        };
        self.remove(longest, last);
        true
    }
}

#[cfg(test)]
mod tests;
