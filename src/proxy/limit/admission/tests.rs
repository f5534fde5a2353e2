//! Who gets a place, who waits, and who is sent away.

use std::sync::atomic::AtomicU32;

use tokio::task::{JoinHandle, yield_now};
use tokio::time::{Instant, advance};

use super::*;

const PATIENCE: Duration = Duration::from_secs(1);

fn gate(most: usize, most_waiting: usize) -> Arc<Door> {
    Door::new(Arc::new(Gate::new(
        most,
        most_waiting,
        PATIENCE,
        Arc::default(),
    )))
}

type Waiter = JoinHandle<Result<Place, Error>>;

/// Somebody who waits in `lane`, and does so when this returns.
async fn waiter(gate: &Arc<Door>, lane: usize) -> Waiter {
    let gate = Arc::clone(gate);
    let waiter = tokio::spawn(async move { gate.wait(lane).await });
    yield_now().await;
    waiter
}

#[tokio::test(start_paused = true)]
async fn a_place_that_is_freed_goes_to_who_waits_and_to_nobody_who_comes_later() {
    let gate = gate(1, 2);
    let first = gate.enter().unwrap();
    assert!(gate.enter().is_none());
    let waiting = waiter(&gate, 1).await;
    drop(first);
    assert!(
        gate.enter().is_none(),
        "the place is not given to the one who waits"
    );
    let place = waiting.await.unwrap().unwrap();
    drop(place);
    // In the moment in which a place is free and somebody waits.
    gate.0.places.queued.store(1, SeqCst);
    assert!(gate.enter().is_none(), "it overtakes the one who waits");
    gate.0.places.queued.store(0, SeqCst);
    assert!(gate.enter().is_some());
}

/// It was freed between the look at the places and the entry into the queue, when nobody was there
/// to give it to.
#[tokio::test(start_paused = true)]
async fn a_place_that_is_freed_before_anybody_waits_is_taken_all_the_same() {
    let gate = gate(1, 1);
    let began = Instant::now();
    assert!(gate.wait(1).await.is_ok());
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn places_go_round_the_callers() {
    let gate = gate(1, 100);
    let place = gate.enter().unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut waiters = Vec::new();
    for lane in [1, 1, 1, 1, 2, 2, 3] {
        let (gate, order) = (Arc::clone(&gate), Arc::clone(&order));
        waiters.push(tokio::spawn(async move {
            let place = gate.wait(lane).await.unwrap();
            order.lock().unwrap().push(lane);
            drop(place);
        }));
        yield_now().await;
    }
    drop(place);
    for waiter in waiters {
        waiter.await.unwrap();
    }
    assert_eq!(*order.lock().unwrap(), [1, 2, 3, 1, 2, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_flood_that_has_filled_the_queue_makes_room_for_others() {
    let gate = gate(1, 3);
    let place = gate.enter().unwrap();
    let flood = [
        waiter(&gate, 1).await,
        waiter(&gate, 1).await,
        waiter(&gate, 1).await,
    ];
    assert!(
        matches!(gate.wait(1).await, Err(Error::Overloaded)),
        "it is as long as it may be"
    );
    let other = waiter(&gate, 2).await;
    let [one, two, three] = flood;
    assert!(
        matches!(three.await.unwrap(), Err(Error::Overloaded)),
        "the last of the flood stays"
    );
    assert!(!other.is_finished() && !one.is_finished() && !two.is_finished());
    // What is left is as fair as it can be: two of one, one of the other.
    assert!(matches!(gate.wait(2).await, Err(Error::Overloaded)));
    drop(place);
    drop(one.await.unwrap().unwrap());
    drop(other.await.unwrap().unwrap());
    drop(two.await.unwrap().unwrap());
    assert_eq!(
        (
            gate.0.places.in_flight.load(SeqCst),
            gate.0.places.queued.load(SeqCst)
        ),
        (0, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn who_waits_too_long_or_goes_away_leaves_no_trace() {
    let gate = gate(1, 1);
    let place = gate.enter().unwrap();
    let began = Instant::now();
    assert!(matches!(gate.wait(1).await, Err(Error::Overloaded)));
    assert_eq!(began.elapsed(), PATIENCE);
    let gone = waiter(&gate, 1).await;
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    assert_eq!(gate.0.places.queued.load(SeqCst), 0);
    let last = waiter(&gate, 1).await;
    drop(place);
    last.await.unwrap().unwrap();
    assert!(gate.0.lock().lanes.is_empty() && gate.0.lock().order.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_drain_sends_away_who_waits_and_lets_finish_who_does_not() {
    let gate = gate(1, 5);
    let place = gate.enter().unwrap();
    let waiting = waiter(&gate, 1).await;
    gate.0.drain();
    assert!(matches!(waiting.await.unwrap(), Err(Error::Draining)));
    assert!(matches!(gate.wait(1).await, Err(Error::Draining)));
    drop(place);
    assert!(
        gate.enter().is_some(),
        "what needs not wait is served until the end"
    );
}

/// On real threads: never more than the places, nobody forgotten, nothing left.
#[test]
fn places_are_neither_lost_nor_doubled_between_threads() {
    let gate = Door::new(Arc::new(Gate::new(
        3,
        1000,
        Duration::from_secs(60),
        Arc::default(),
    )));
    let (inside, most, served) = (AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (gate, inside, most, served) = (&gate, &inside, &most, &served);
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_time()
                    .build()
                    .unwrap();
                runtime.block_on(async {
                    let one = async |lane: usize| {
                        for round in 0..500_usize {
                            let place = match gate.enter() {
                                Some(place) => place,
                                None => gate.wait(lane).await.unwrap(),
                            };
                            most.fetch_max(inside.fetch_add(1, SeqCst) + 1, SeqCst);
                            if round % 3 == 0 {
                                yield_now().await;
                            }
                            inside.fetch_sub(1, SeqCst);
                            drop(place);
                            served.fetch_add(1, SeqCst);
                        }
                    };
                    tokio::join!(one(thread), one(thread), one(thread + 10), one(99));
                });
            });
        }
    });
    assert_eq!(served.load(SeqCst), 4 * 4 * 500);
    assert!(most.load(SeqCst) <= 3, "{most:?}");
    assert_eq!(
        (
            gate.0.places.in_flight.load(SeqCst),
            gate.0.places.queued.load(SeqCst)
        ),
        (0, 0)
    );
    assert!(gate.enter().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_place_that_is_given_as_its_taker_leaves_is_free_again() {
    let gate = gate(1, 5);
    for _ in 0..50 {
        let place = gate.enter().unwrap();
        let leaving = waiter(&gate, 1).await;
        drop(place);
        leaving.abort();
        let _ = leaving.await;
        advance(Duration::from_millis(1)).await;
        assert_eq!(
            (
                gate.0.places.in_flight.load(SeqCst),
                gate.0.places.queued.load(SeqCst)
            ),
            (0, 0)
        );
    }
}
