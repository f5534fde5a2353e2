//! Deadlines of a connection, as they follow from what is noted.

use tokio::time::advance;

use super::*;

const TIMEOUTS: Timeouts = Timeouts {
    handshake: Duration::from_secs(1),
    header: Duration::from_secs(10),
    keep_alive: Duration::from_secs(75),
    body: Duration::from_secs(60),
    max_age: Duration::from_secs(3600),
};

/// In how many seconds, and for what.
fn due(activity: &Activity) -> Option<(u64, Late)> {
    let (due, late) = activity.due(&TIMEOUTS)?;
    Some((due.duration_since(Instant::now()).as_secs(), late))
}

#[tokio::test(start_paused = true)]
async fn a_head_has_its_time_from_its_first_byte_and_no_byte_more() {
    let activity = Activity::new(Instant::now(), false);
    advance(Duration::from_secs(4)).await;
    activity.note_read(b"GET");
    assert_eq!(due(&activity), Some((6, Late::Head)));
    activity.begin_request(Version::HTTP_11);
    activity.end_answer();
    assert_eq!(due(&activity), Some((75, Late::Idle)));
    activity.note_read(b"\r\n");
    assert_eq!(due(&activity), Some((75, Late::Idle)));
    advance(Duration::from_secs(70)).await;
    activity.note_read(b"\nG");
    advance(Duration::from_secs(3)).await;
    activity.note_read(b"ET");
    assert_eq!(due(&activity), Some((7, Late::Head)));
}

#[tokio::test(start_paused = true)]
async fn the_api_has_all_the_time_and_a_caller_whose_turn_it_is_has_not() {
    let activity = Activity::new(Instant::now(), false);
    activity.begin_request(Version::HTTP_11);
    activity.begin_body();
    assert_eq!(due(&activity), None, "the API reads nothing");
    advance(Duration::from_secs(100)).await;
    activity.expect();
    assert_eq!(due(&activity), Some((60, Late::Stalled)));
    activity.expect_no_more();
    activity.end_body(true);
    assert_eq!(due(&activity), None, "the API has not answered");
    advance(Duration::from_secs(100)).await;
    activity.hold();
    assert_eq!(due(&activity), Some((60, Late::Stalled)));
    activity.release();
    assert_eq!(due(&activity), None, "the API has more to say");
    activity.note_blocked();
    assert_eq!(due(&activity), Some((60, Late::Stalled)));
    activity.end_answer();
    advance(Duration::from_secs(50)).await;
    activity.note_written();
    assert_eq!(due(&activity), Some((75, Late::Idle)));
}

#[tokio::test(start_paused = true)]
async fn frames_that_are_no_progress_give_no_more_time() {
    let activity = Activity::new(Instant::now(), true);
    activity.begin_request(Version::HTTP_2);
    activity.expect();
    advance(Duration::from_secs(20)).await;
    activity.note_blocked();
    activity.note_unblocked();
    assert_eq!(due(&activity), Some((40, Late::Stalled)));
    activity.expect_no_more();
    activity.end_answer();
    activity.note_blocked();
    assert_eq!(
        due(&activity),
        Some((75, Late::Idle)),
        "its pings are no request"
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_overtakes_its_body_leaves_a_deadline() {
    let activity = Activity::new(Instant::now(), false);
    activity.begin_request(Version::HTTP_11);
    activity.begin_body();
    activity.expect();
    activity.end_answer();
    assert_eq!(due(&activity), Some((60, Late::Stalled)));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_stalls_does_not_end_one_that_waits_for_the_api() {
    let activity = Activity::new(Instant::now(), true);
    assert_eq!(due(&activity), Some((75, Late::Idle)));
    activity.begin_request(Version::HTTP_11);
    activity.begin_request(Version::HTTP_11);
    activity.hold();
    assert_eq!(due(&activity), None);
    activity.end_answer();
    assert_eq!(due(&activity), Some((60, Late::Stalled)));
}
