//! Admission and queueing of requests.

use std::sync::atomic::AtomicU32;

use tokio::task::{JoinHandle, yield_now};
use tokio::time::{Instant, advance};

use super::*;

const QUEUE_TIMEOUT: Duration = Duration::from_secs(1);

fn admission(max_in_flight: usize, max_queued: usize) -> Arc<Admission> {
    Admission::new(Arc::new(AdmissionQueue::new(
        max_in_flight,
        max_queued,
        QUEUE_TIMEOUT,
        Arc::default(),
    )))
}

type Queued = JoinHandle<Result<AdmissionPermit, Error>>;

/// A request that waits in `lane` when this returns.
async fn queued(admission: &Arc<Admission>, lane: usize) -> Queued {
    let admission = Arc::clone(admission);
    let queued = tokio::spawn(async move { admission.acquire(lane).await });
    yield_now().await;
    queued
}

#[tokio::test(start_paused = true)]
async fn a_released_permit_goes_to_the_queue_first() {
    let admission = admission(1, 2);
    let first = admission.try_acquire().unwrap();
    assert!(admission.try_acquire().is_none());
    let waiting = queued(&admission, 1).await;
    drop(first);
    assert!(
        admission.try_acquire().is_none(),
        "the permit is not handed to the queued request"
    );
    let permit = waiting.await.unwrap().unwrap();
    drop(permit);
    // A permit is free while a request is queued.
    admission.0.counts.queued.store(1, SeqCst);
    assert!(
        admission.try_acquire().is_none(),
        "it overtakes the queued request"
    );
    admission.0.counts.queued.store(0, SeqCst);
    assert!(admission.try_acquire().is_some());
}

/// It was released between the check for a free permit and the entry into the queue.
#[tokio::test(start_paused = true)]
async fn a_permit_released_during_enqueue_is_not_lost() {
    let admission = admission(1, 1);
    let began = Instant::now();
    assert!(admission.acquire(1).await.is_ok());
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn permits_rotate_among_callers() {
    let admission = admission(1, 100);
    let permit = admission.try_acquire().unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut waiters = Vec::new();
    for lane in [1, 1, 1, 1, 2, 2, 3] {
        let (admission, order) = (Arc::clone(&admission), Arc::clone(&order));
        waiters.push(tokio::spawn(async move {
            let permit = admission.acquire(lane).await.unwrap();
            order.lock().unwrap().push(lane);
            drop(permit);
        }));
        yield_now().await;
    }
    drop(permit);
    for waiter in waiters {
        waiter.await.unwrap();
    }
    assert_eq!(*order.lock().unwrap(), [1, 2, 3, 1, 2, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_flooding_caller_makes_room_for_others() {
    let admission = admission(1, 3);
    let permit = admission.try_acquire().unwrap();
    let flood = [
        queued(&admission, 1).await,
        queued(&admission, 1).await,
        queued(&admission, 1).await,
    ];
    assert!(
        matches!(admission.acquire(1).await, Err(Error::Overloaded)),
        "the lane is as long as it may be"
    );
    let other = queued(&admission, 2).await;
    let [one, two, three] = flood;
    assert!(
        matches!(three.await.unwrap(), Err(Error::Overloaded)),
        "the last of the flood stays"
    );
    assert!(!other.is_finished() && !one.is_finished() && !two.is_finished());
    // The rest is as fair as it can be: two of one, one of the other.
    assert!(matches!(admission.acquire(2).await, Err(Error::Overloaded)));
    drop(permit);
    drop(one.await.unwrap().unwrap());
    drop(other.await.unwrap().unwrap());
    drop(two.await.unwrap().unwrap());
    assert_eq!(
        (
            admission.0.counts.in_flight.load(SeqCst),
            admission.0.counts.queued.load(SeqCst)
        ),
        (0, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_leaving_the_queue_leaves_no_entry() {
    let admission = admission(1, 1);
    let permit = admission.try_acquire().unwrap();
    let began = Instant::now();
    assert!(matches!(admission.acquire(1).await, Err(Error::Overloaded)));
    assert_eq!(began.elapsed(), QUEUE_TIMEOUT);
    let gone = queued(&admission, 1).await;
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    assert_eq!(admission.0.counts.queued.load(SeqCst), 0);
    let last = queued(&admission, 1).await;
    drop(permit);
    last.await.unwrap().unwrap();
    assert!(admission.0.lock().lanes.is_empty() && admission.0.lock().order.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_drain_rejects_queued_requests_only() {
    let admission = admission(1, 5);
    let permit = admission.try_acquire().unwrap();
    let waiting = queued(&admission, 1).await;
    admission.0.drain();
    assert!(matches!(waiting.await.unwrap(), Err(Error::Draining)));
    assert!(matches!(admission.acquire(1).await, Err(Error::Draining)));
    drop(permit);
    assert!(
        admission.try_acquire().is_some(),
        "a request that need not wait is served until the end"
    );
}

/// On real threads: never more in flight than permits, no request forgotten, no permit lost.
#[test]
fn permits_are_neither_lost_nor_doubled_between_threads() {
    let admission = Admission::new(Arc::new(AdmissionQueue::new(
        3,
        1000,
        Duration::from_secs(60),
        Arc::default(),
    )));
    let (inside, most, served) = (AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (admission, inside, most, served) = (&admission, &inside, &most, &served);
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_time()
                    .build()
                    .unwrap();
                runtime.block_on(async {
                    let one = async |lane: usize| {
                        for round in 0..500_usize {
                            let permit = match admission.try_acquire() {
                                Some(permit) => permit,
                                None => admission.acquire(lane).await.unwrap(),
                            };
                            most.fetch_max(inside.fetch_add(1, SeqCst) + 1, SeqCst);
                            if round % 3 == 0 {
                                yield_now().await;
                            }
                            inside.fetch_sub(1, SeqCst);
                            drop(permit);
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
            admission.0.counts.in_flight.load(SeqCst),
            admission.0.counts.queued.load(SeqCst)
        ),
        (0, 0)
    );
    assert!(admission.try_acquire().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_canceled_request_releases_its_granted_permit() {
    let admission = admission(1, 5);
    for _ in 0..50 {
        let permit = admission.try_acquire().unwrap();
        let leaving = queued(&admission, 1).await;
        drop(permit);
        leaving.abort();
        let _ = leaving.await;
        advance(Duration::from_millis(1)).await;
        assert_eq!(
            (
                admission.0.counts.in_flight.load(SeqCst),
                admission.0.counts.queued.load(SeqCst)
            ),
            (0, 0)
        );
    }
}
