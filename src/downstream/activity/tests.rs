//! Deadlines that follow from recorded activity.

use tokio::time::advance;

use super::*;

const TIMEOUTS: Timeouts = Timeouts {
    handshake: Duration::from_secs(1),
    header: Duration::from_secs(10),
    keep_alive: Duration::from_secs(75),
    body: Duration::from_secs(60),
    max_age: Duration::from_secs(3600),
};

/// The deadline in seconds from now.
fn deadline(activity: &Activity) -> Option<(u64, DeadlineKind)> {
    let (at, kind) = activity.deadline(&TIMEOUTS)?;
    Some((at.duration_since(Instant::now()).as_secs(), kind))
}

#[tokio::test(start_paused = true)]
async fn a_head_is_timed_from_its_first_byte() {
    let activity = Activity::new(Instant::now(), false);
    advance(Duration::from_secs(4)).await;
    activity.record_read(b"GET");
    assert_eq!(deadline(&activity), Some((6, DeadlineKind::RequestHead)));
    activity.begin_request(Version::HTTP_11);
    activity.end_response();
    assert_eq!(deadline(&activity), Some((75, DeadlineKind::Idle)));
    activity.record_read(b"\r\n");
    assert_eq!(deadline(&activity), Some((75, DeadlineKind::Idle)));
    advance(Duration::from_secs(70)).await;
    activity.record_read(b"\nG");
    advance(Duration::from_secs(3)).await;
    activity.record_read(b"ET");
    assert_eq!(deadline(&activity), Some((7, DeadlineKind::RequestHead)));
}

#[tokio::test(start_paused = true)]
async fn only_the_callers_turn_is_timed() {
    let activity = Activity::new(Instant::now(), false);
    activity.begin_request(Version::HTTP_11);
    activity.begin_body();
    assert_eq!(deadline(&activity), None, "the API reads nothing");
    advance(Duration::from_secs(100)).await;
    activity.begin_body_wait();
    assert_eq!(deadline(&activity), Some((60, DeadlineKind::Stalled)));
    activity.end_body_wait();
    activity.end_body(true);
    assert_eq!(deadline(&activity), None, "the API has not responded");
    advance(Duration::from_secs(100)).await;
    activity.begin_delivery();
    assert_eq!(deadline(&activity), Some((60, DeadlineKind::Stalled)));
    activity.end_delivery();
    assert_eq!(deadline(&activity), None, "the API has more to send");
    activity.record_blocked();
    assert_eq!(deadline(&activity), Some((60, DeadlineKind::Stalled)));
    activity.end_response();
    advance(Duration::from_secs(50)).await;
    activity.record_written();
    assert_eq!(deadline(&activity), Some((75, DeadlineKind::Idle)));
}

#[tokio::test(start_paused = true)]
async fn control_frames_do_not_extend_the_deadline() {
    let activity = Activity::new(Instant::now(), true);
    activity.begin_request(Version::HTTP_2);
    activity.begin_body_wait();
    advance(Duration::from_secs(20)).await;
    activity.record_blocked();
    activity.record_unblocked();
    assert_eq!(deadline(&activity), Some((40, DeadlineKind::Stalled)));
    activity.end_body_wait();
    activity.end_response();
    activity.record_blocked();
    assert_eq!(
        deadline(&activity),
        Some((75, DeadlineKind::Idle)),
        "PINGs are not requests"
    );
}

#[tokio::test(start_paused = true)]
async fn a_response_before_its_body_leaves_a_deadline() {
    let activity = Activity::new(Instant::now(), false);
    activity.begin_request(Version::HTTP_11);
    activity.begin_body();
    activity.begin_body_wait();
    activity.end_response();
    assert_eq!(deadline(&activity), Some((60, DeadlineKind::Stalled)));
}

#[tokio::test(start_paused = true)]
async fn a_stalled_stream_spares_streams_awaiting_the_api() {
    let activity = Activity::new(Instant::now(), true);
    assert_eq!(deadline(&activity), Some((75, DeadlineKind::Idle)));
    activity.begin_request(Version::HTTP_11);
    activity.begin_request(Version::HTTP_11);
    activity.begin_delivery();
    assert_eq!(deadline(&activity), None);
    activity.end_response();
    assert_eq!(deadline(&activity), Some((60, DeadlineKind::Stalled)));
}
