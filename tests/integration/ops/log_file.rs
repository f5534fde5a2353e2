//! A log that is written to a file, and what others do to that file meanwhile.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
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

/// A directory, and the paths of a log file and of its predecessor.
fn log_files() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("proxy.log");
    let moved = directory.path().join("proxy.log.1");
    (directory, file, moved)
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap()
}

#[tokio::test]
async fn the_log_file_is_private_and_appended_to() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("proxy.log");
    let mut running = Running::start_logging_to(&file, &[]);
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o137, 0, "{mode:o}");
    send(running.addr(), post("/number/1/")).await;
    running.log.clear();
    assert_eq!(running.end("-TERM"), 0);
    assert_eq!(running.log, "", "standard output");
    assert!(
        read(&file).contains("path=\"/number/1/\"") && read(&file).contains("drained"),
        "{}",
        read(&file)
    );

    let before = read(&file);
    let mut running = Running::start_logging_to(&file, &["log.format=json"]);
    assert_eq!(running.end("-TERM"), 0);
    assert!(read(&file).starts_with(&before) && read(&file).len() > before.len());
}

#[tokio::test]
async fn renaming_the_log_file_loses_no_line() {
    let directory = tempfile::tempdir().unwrap();
    let (file, old) = (
        directory.path().join("proxy.log"),
        directory.path().join("proxy.log.1"),
    );
    let older = directory.path().join("proxy.log.2");
    let mut running = Running::start_logging_to(&file, &[]);
    let addr = running.addr();
    let sent = numbered(addr, 0, Duration::from_millis(200)).await;
    // Renamed alone: we make the next one.
    fs::rename(&file, &older).unwrap();
    let sent = numbered(addr, sent, Duration::from_millis(2500)).await;
    // Renamed and created again.
    fs::rename(&file, &old).unwrap();
    fs::write(&file, "").unwrap();
    let sent = numbered(addr, sent, Duration::from_millis(1500)).await;
    assert_eq!(running.end("-TERM"), 0);

    let [oldest, middle, newest] = [older, old, file].map(|file| read(&file));
    let all = oldest + &middle + &newest;
    for number in 0..sent {
        assert_eq!(
            all.matches(&format!("path=\"/number/{number}/\"")).count(),
            1,
            "{number} of {sent}"
        );
    }
    for log in [middle, newest] {
        assert!(log.contains("/number/"), "nothing went there");
    }
}

/// Waits until `file` holds `text`.
async fn wait_for(file: &Path, text: &str) {
    for _ in 0..1000 {
        if fs::read_to_string(file).is_ok_and(|log| log.contains(text)) {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("{text:?} does not come to {}", file.display());
}

/// Sends numbered requests until it is stopped; how many.
fn storm(addr: SocketAddr, stop: Arc<AtomicBool>) -> JoinHandle<usize> {
    tokio::spawn(async move {
        let mut sent = 0;
        while !stop.load(Ordering::Relaxed) {
            send(addr, post(&format!("/number/{sent}/"))).await;
            sent += 1;
        }
        sent
    })
}

fn assert_each_once(log: &str, sent: usize) {
    let mut counts = vec![0; sent];
    for part in log.split("path=\"/number/").skip(1) {
        counts[part.split('/').next().unwrap().parse::<usize>().unwrap()] += 1;
    }
    let wrong: Vec<_> = counts
        .iter()
        .enumerate()
        .filter(|(_, count)| **count != 1)
        .collect();
    assert!(
        wrong.is_empty(),
        "of {sent} lines these were not written once: {wrong:?}"
    );
}

/// As logrotate does it with `compress` and `nocreate`: moved, signaled, read to its end and removed.
#[tokio::test]
async fn no_line_is_lost_to_a_compressor() {
    let (_directory, file, moved) = log_files();
    let mut running = Running::start_logging_to(&file, &[]);
    let stop = Arc::<AtomicBool>::default();
    let storm = storm(running.addr(), Arc::clone(&stop));
    running.log.clear();
    let mut all = String::new();
    for round in 0..30 {
        wait_for(&file, "/number/").await;
        fs::rename(&file, &moved).unwrap();
        running.signal(["-USR1", "-HUP"][round % 2]);
        wait_for(&file, "").await;
        all += &read(&moved);
        fs::remove_file(&moved).unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    let sent = storm.await.unwrap();
    assert_eq!(running.end("-TERM"), 0);
    all += &read(&file);
    assert_each_once(&all, sent);
    assert!(
        all.contains("reopened log.file signal=\"SIGUSR1\""),
        "{all}"
    );
    assert!(all.contains("reopened log.file signal=\"SIGHUP\""), "{all}");
    assert_eq!(running.log, "", "standard error");
}

#[tokio::test]
async fn a_moved_file_gets_no_further_lines() {
    let (directory, file, moved) = log_files();
    let mut running = Running::start_logging_to(&file, &[]);
    let addr = running.addr();
    send(addr, post("/number/0/")).await;
    wait_for(&file, "/number/0/").await;
    // Nobody says so, and nobody creates the next one.
    fs::rename(&file, &moved).unwrap();
    send(addr, post("/number/1/")).await;
    wait_for(&file, "/number/1/").await;
    // Somebody creates the next one, as logrotate does with `create`.
    let second = directory.path().join("proxy.log.2");
    fs::rename(&file, &second).unwrap();
    fs::write(&file, "").unwrap();
    send(addr, post("/number/2/")).await;
    wait_for(&file, "/number/2/").await;
    assert_eq!(running.end("-TERM"), 0);
    for (log, number) in [(&moved, 0), (&second, 1), (&file, 2)] {
        let log = read(log);
        assert_eq!(log.matches("/number/").count(), 1, "{log}");
        assert!(log.contains(&format!("/number/{number}/")), "{log}");
    }
}

#[tokio::test]
async fn a_signal_reopens_the_file_without_any_line() {
    let (_directory, file, moved) = log_files();
    let mut running = Running::start_logging_to(&file, &[]);
    for signal in ["-USR1", "-HUP"] {
        fs::rename(&file, &moved).unwrap();
        running.signal(signal);
        wait_for(&file, "reopened log.file").await;
    }
    assert_eq!(running.end("-TERM"), 0);
}

#[tokio::test]
async fn without_a_log_file_sigusr1_is_ignored() {
    let mut running = Running::start(&[]);
    running.signal("-USR1");
    running.read_until("log.file is not set");
    assert_eq!(running.end("-TERM"), 0);
}

#[tokio::test]
async fn a_full_file_keeps_lines_waiting() {
    let (_directory, file, moved) = log_files();
    let mut running = Running::start_logging_to(&file, &[]);
    let addr = running.addr();
    send(addr, post("/number/0/")).await;
    wait_for(&file, "/number/0/").await;
    // In the middle of the next line.
    running.limit_file_size(Some(fs::metadata(&file).unwrap().len() + 40));
    send(addr, post("/number/1/")).await;
    running.read_until(&format!(
        "log.file: cannot write to {}: File too large",
        file.display()
    ));
    running.read_until("  fix: rotate ");
    for number in 2..50 {
        send(addr, post(&format!("/number/{number}/"))).await;
    }
    assert!(!read(&file).contains("/number/49/"));
    // Into the same file: the line goes on where it was cut off.
    running.limit_file_size(None);
    wait_for(&file, "/number/49/").await;
    running.read_until("log.file: writing again");
    assert_each_once(&read(&file), 50);
    running.log.clear();

    running.limit_file_size(Some(fs::metadata(&file).unwrap().len() + 40));
    send(addr, post("/number/50/")).await;
    running.read_until("log.file: cannot write");
    // Into another file: the line is written as a whole.
    fs::rename(&file, &moved).unwrap();
    wait_for(&file, "/number/50/").await;
    running.limit_file_size(None);
    assert_eq!(running.end("-TERM"), 0);
    assert!(
        !read(&moved).ends_with('\n'),
        "it was not cut off in the middle of a line"
    );
    let whole = read(&moved).rsplit_once('\n').unwrap().0.to_owned() + "\n" + &read(&file);
    assert_each_once(&whole, 51);
    assert!(!whole.contains("were lost"), "{whole}");
}

#[tokio::test]
async fn lines_wait_for_a_directory_that_vanished() {
    let parent = tempfile::tempdir().unwrap();
    let (directory, moved) = (parent.path().join("log"), parent.path().join("old"));
    fs::create_dir(&directory).unwrap();
    let file = directory.join("proxy.log");
    let mut running = Running::start_logging_to(&file, &[]);
    let addr = running.addr();
    fs::rename(&directory, &moved).unwrap();
    send(addr, post("/number/0/")).await;
    running.read_until(&format!(
        "fix: create the directory {}",
        directory.display()
    ));
    send(addr, post("/number/1/")).await;
    fs::create_dir(&directory).unwrap();
    wait_for(&file, "/number/1/").await;
    assert_each_once(&read(&file), 2);
    assert!(!read(&moved.join("proxy.log")).contains("/number/"));

    // One that does not come back costs the lines that wait, and standard error says so.
    fs::remove_dir_all(&directory).unwrap();
    send(addr, post("/number/2/")).await;
    assert_eq!(running.end("-TERM"), 0);
    assert!(running.log.contains("log.file: lost "), "{}", running.log);
}

#[tokio::test]
async fn a_truncated_log_file_continues_at_its_start() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("proxy.log");
    let mut running = Running::start_logging_to(&file, &[]);
    fs::File::options()
        .write(true)
        .open(&file)
        .unwrap()
        .set_len(0)
        .unwrap();
    send(running.addr(), post("/number/1/")).await;
    assert_eq!(running.end("-TERM"), 0);
    assert!(
        read(&file).contains("/number/1/") && !read(&file).contains('\0'),
        "{}",
        read(&file)
    );
}

#[test]
fn an_unopenable_log_file_is_a_configuration_error() {
    let output = with_client(&["run", "--set", "log.file=/nowhere/at/all/proxy.log"])
        .output()
        .unwrap();
    let (_, error) = text(&output);
    assert_eq!(output.status.code(), Some(64), "{error}");
    for part in [
        "log.file",
        "/nowhere/at/all/proxy.log",
        "No such file",
        "fix: ",
    ] {
        assert!(error.contains(part), "{part} is not in {error}");
    }
}
