//! A log that is written to a file, and what others do to that file meanwhile.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::support::caller::{post, send};
use crate::support::process::{Running, text, with_client};

/// Sends requests that are logged with a number, from `first` on, for so long; the next number.
async fn numbered(addr: SocketAddr, first: usize, time: Duration) -> usize {
    let began = Instant::now();
    let mut number = first;
    while began.elapsed() < time {
        send(addr, post(&format!("/number/{number}/"))).await;
        number += 1;
        sleep(Duration::from_millis(5)).await;
    }
    number
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap()
}

#[tokio::test]
async fn a_log_file_is_made_for_us_and_our_group_and_appended_to() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("proxy.log");
    let mut running = Running::start_logging_to(&file, &[]);
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o137, 0, "{mode:o}");
    send(running.addr(), post("/number/1/")).await;
    running.log.clear();
    assert_eq!(running.end("-TERM"), 0);
    assert_eq!(running.log, "", "standard output");
    assert!(read(&file).contains("path=\"/number/1/\"") && read(&file).contains("done"), "{}", read(&file));

    let before = read(&file);
    let mut running = Running::start_logging_to(&file, &["log.format=json"]);
    assert_eq!(running.end("-TERM"), 0);
    assert!(read(&file).starts_with(&before) && read(&file).len() > before.len());
}

#[tokio::test]
async fn a_log_file_that_is_renamed_is_followed_by_a_new_one_and_no_line_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let (file, old) = (directory.path().join("proxy.log"), directory.path().join("proxy.log.1"));
    let older = directory.path().join("proxy.log.2");
    let mut running = Running::start_logging_to(&file, &[]);
    let addr = running.addr();
    let sent = numbered(addr, 0, Duration::from_millis(200)).await;
    // Renamed alone: we make the next one.
    fs::rename(&file, &older).unwrap();
    let sent = numbered(addr, sent, Duration::from_millis(2500)).await;
    // Renamed and made anew.
    fs::rename(&file, &old).unwrap();
    fs::write(&file, "").unwrap();
    let sent = numbered(addr, sent, Duration::from_millis(1500)).await;
    assert_eq!(running.end("-TERM"), 0);

    let [oldest, middle, newest] = [older, old, file].map(|file| read(&file));
    let all = oldest + &middle + &newest;
    for number in 0..sent {
        assert_eq!(all.matches(&format!("path=\"/number/{number}/\"")).count(), 1, "{number} of {sent}");
    }
    for log in [middle, newest] {
        assert!(log.contains("/number/"), "nothing went there");
    }
}

#[tokio::test]
async fn a_log_file_that_is_cut_off_is_written_from_its_beginning() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("proxy.log");
    let mut running = Running::start_logging_to(&file, &[]);
    fs::File::options().write(true).open(&file).unwrap().set_len(0).unwrap();
    send(running.addr(), post("/number/1/")).await;
    assert_eq!(running.end("-TERM"), 0);
    assert!(read(&file).contains("/number/1/") && !read(&file).contains('\0'), "{}", read(&file));
}

#[test]
fn a_log_file_that_cannot_be_opened_is_wrong_configuration() {
    let output = with_client(&["run", "--set", "log.file=/nowhere/at/all/proxy.log"]).output().unwrap();
    let (_, error) = text(&output);
    assert_eq!(output.status.code(), Some(64), "{error}");
    for part in ["log.file", "/nowhere/at/all/proxy.log", "No such file", "mend: "] {
        assert!(error.contains(part), "{part} is not in {error}");
    }
}
