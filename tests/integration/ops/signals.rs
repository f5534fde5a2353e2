//! Signals that a process may get from anybody, and what they do.

use std::io::Write;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use http::StatusCode;

use crate::support::caller::{post, send};
use crate::support::process::Running;

const SIGHUP: u32 = 1;
const SIGUSR1: u32 = 10;

#[tokio::test]
async fn unused_signals_do_not_end_the_process() {
    let mut running = Running::start(&[]);
    let addr = running.addr();
    // By number: not every `kill` knows all names. 16 is SIGSTKFLT, 29 SIGIO.
    let stray = [
        ("USR2", "SIGUSR2"),
        ("ALRM", "SIGALRM"),
        ("VTALRM", "SIGVTALRM"),
        ("PROF", "SIGPROF"),
        ("16", "SIGSTKFLT"),
        ("29", "SIGIO"),
    ];
    // Reported by others, ignored by the standard library, or by default.
    for signal in ["XFSZ", "PIPE", "CHLD", "URG", "WINCH", "CONT"] {
        running.signal(&format!("-{signal}"));
    }
    for (signal, name) in stray {
        running.signal(&format!("-{signal}"));
        running.read_until(&format!("ignored a signal signal=\"{name}\""));
    }
    assert_eq!(send(addr, post("/x")).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(running.end("-TERM"), 0);
}

/// Each goes to a process of its own: they share a name, and only the first of a name is logged at
/// once.
#[test]
fn real_time_signals_are_only_reported() {
    for signal in ["34", "35", "64"] {
        let mut running = Running::start(&[]);
        running.signal(&format!("-{signal}"));
        running.read_until("ignored a signal signal=\"SIGRT\"");
        assert_eq!(running.end("-TERM"), 0, "{signal}");
    }
}

#[test]
fn frequent_signals_are_reported_rarely() {
    let mut running = Running::start(&[]);
    for _ in 0..20 {
        running.signal("-XFSZ");
        running.signal("-USR2");
    }
    running.signal("-PROF");
    running.read_until("signal=\"SIGPROF\"");
    assert_eq!(running.end("-TERM"), 0);
    assert!(!running.log.contains("SIGXFSZ"), "{}", running.log);
    // Rarely, and not once: 20 signals may take longer than the silence.
    assert!(
        running.log.matches("SIGUSR2").count() <= 5,
        "{}",
        running.log
    );
}

#[test]
fn each_signal_that_ends_the_process_drains_it() {
    for (signal, name) in [
        ("TERM", "TERM"),
        ("INT", "INT"),
        ("QUIT", "QUIT"),
        ("30", "PWR"),
    ] {
        let mut running = Running::start(&[]);
        assert_eq!(running.end(&format!("-{signal}")), 0, "{signal}");
        let drained = format!("finishing requests in flight signal=\"SIG{name}\"");
        assert!(running.log.contains(&drained), "{}", running.log);
    }
}

#[test]
fn a_rotation_signal_at_startup_is_harmless() {
    let directory = tempfile::tempdir().unwrap();
    let fifo = directory.path().join("proxy.toml");
    assert!(
        Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    let mut running = Running::start_reading(&fifo);
    for _ in 0..1000 {
        if running.handles(SIGUSR1) && running.handles(SIGHUP) {
            break;
        }
        sleep(Duration::from_millis(10));
    }
    running.signal("-USR1");
    running.signal("-HUP");
    std::fs::File::options()
        .write(true)
        .open(&fifo)
        .unwrap()
        .write_all(b"")
        .unwrap();
    running.read_until("gbg-proxy is listening");
    assert_eq!(running.end("-TERM"), 0);
}
