//! Service manager: notifications, socket activation, and the shipped units.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use http::StatusCode;
use wiremock::ResponseTemplate;

use crate::support::caller::{assert_ok, post, send};
use crate::support::process::{Running, handed, text};
use crate::support::{answer, api, forwarded, token_endpoint};

const START: &str = "/v2/captain/journey/start";

/// The socket that systemd would listen on.
struct Manager {
    socket: UnixDatagram,
    directory: tempfile::TempDir,
    received: String,
}

impl Manager {
    fn new() -> Manager {
        let directory = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(directory.path().join("notify")).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        Manager {
            socket,
            directory,
            received: String::new(),
        }
    }

    fn path(&self) -> String {
        self.directory.path().join("notify").display().to_string()
    }

    /// Reads until `line` has come.
    fn read_until(&mut self, line: &str) {
        let mut buffer = [0; 1024];
        while !self.received.contains(line) {
            let length = self
                .socket
                .recv(&mut buffer)
                .unwrap_or_else(|_| panic!("{line}: {}", self.received));
            self.received += std::str::from_utf8(&buffer[..length]).unwrap();
        }
    }
}

#[tokio::test]
async fn ready_status_watchdog_and_stopping_are_sent() {
    let api = api().await;
    let mut manager = Manager::new();
    let set = [
        format!("token.endpoint={}", token_endpoint(&api)),
        format!("upstream.base_url={}", api.uri()),
    ];
    let path = manager.path();
    let env = [
        ("NOTIFY_SOCKET", path.as_str()),
        ("WATCHDOG_USEC", "300000"),
    ];
    let mut proxy = Running::start_with_env(&env, &set.each_ref().map(String::as_str));

    manager.read_until("READY=1\n");
    manager.read_until("STATUS=serving, with token 1 until 20");
    manager.received.clear();
    manager.read_until("WATCHDOG=1\n");
    manager.received.clear();
    manager.read_until("WATCHDOG=1\n");

    proxy.signal("-HUP");
    manager.read_until("RELOADING=1\nMONOTONIC_USEC=");
    manager.received.clear();
    manager.read_until("READY=1\n");

    assert_eq!(proxy.end("-TERM"), 0);
    manager.read_until("STOPPING=1\nSTATUS=draining\n");
}

/// As Podman and systemd in a container have it.
#[cfg(target_os = "linux")]
#[test]
fn an_abstract_notify_socket_is_reached() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr;

    let name = format!("gbg-proxy-test-{}", std::process::id());
    let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let mut proxy = Running::start_with_env(&[("NOTIFY_SOCKET", &format!("@{name}"))], &[]);
    let mut buffer = [0; 1024];
    let length = socket.recv(&mut buffer).unwrap();
    assert!(
        buffer[..length].starts_with(b"READY=1\nSTATUS="),
        "{:?}",
        &buffer[..length]
    );
    assert_eq!(proxy.end("-TERM"), 0);
    assert!(
        !proxy.log.contains("failed to notify the service manager"),
        "{}",
        proxy.log
    );
}

/// `systemctl status` would say time and again that it is reloading.
#[test]
fn only_requested_reloads_are_sent_to_systemd() {
    let mut manager = Manager::new();
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "secret").unwrap();
    let client_secret = format!("token.client_secret=file:{}", secret.path().display());
    let path = manager.path();
    let env = [("NOTIFY_SOCKET", path.as_str())];
    let mut proxy = Running::start_with_env(&env, &[&client_secret]);
    std::fs::write(secret.path(), "").unwrap();
    proxy.signal("-HUP");
    manager.read_until("RELOADING=1\n");
    proxy.read_until("configuration rejected");
    std::fs::write(secret.path(), "another").unwrap();
    proxy.read_until("why=\"retry\"");
    assert_eq!(proxy.end("-TERM"), 0);
    manager.read_until("STOPPING=1\n");
    assert_eq!(
        manager.received.matches("RELOADING=1\n").count(),
        1,
        "{}",
        manager.received
    );
}

#[test]
fn anothers_watchdog_is_ignored_and_status_is_sent() {
    let mut manager = Manager::new();
    // A watchdog of another process.
    let path = manager.path();
    let env = [
        ("NOTIFY_SOCKET", path.as_str()),
        ("WATCHDOG_USEC", "100000"),
        ("WATCHDOG_PID", "1"),
    ];
    let mut proxy = Running::start_with_env(&env, &[]);
    manager.read_until("STATUS=no token: ");
    assert_eq!(proxy.end("-TERM"), 0);
    manager.read_until("STOPPING=1\n");
    assert!(
        !manager.received.contains("WATCHDOG"),
        "{}",
        manager.received
    );
}

#[test]
fn an_empty_notify_socket_is_ignored() {
    let mut proxy = Running::start_with_env(&[("NOTIFY_SOCKET", "")], &[]);
    assert_eq!(proxy.end("-TERM"), 0);
    assert!(
        !proxy.log.contains("failed to notify the service manager"),
        "{}",
        proxy.log
    );
}

#[test]
fn a_missing_service_manager_does_not_stop_startup() {
    let mut proxy = Running::start_with_env(&[("NOTIFY_SOCKET", "/nowhere/notify")], &[]);
    proxy.read_until("failed to notify the service manager");
    assert_eq!(proxy.end("-TERM"), 0);
}

#[tokio::test]
async fn an_inherited_socket_outlives_the_process() {
    let api = api().await;
    answer(&api, ResponseTemplate::new(200)).await;
    let set = [
        format!("token.endpoint={}", token_endpoint(&api)),
        format!("upstream.base_url={}", api.uri()),
        "listen.workers=3".to_owned(),
    ];
    let set = set.each_ref().map(String::as_str);
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = socket.local_addr().unwrap();

    let mut first = Running::start_on(socket.try_clone().unwrap(), &set);
    assert_eq!(first.addr(), addr);
    assert!(first.log.contains("handed_over=true"), "{}", first.log);
    for _ in 0..8 {
        assert_ok(addr, START).await;
    }
    assert_eq!(first.end("-TERM"), 0);

    // Nobody serves, and the caller waits instead of being refused.
    let waiting = tokio::spawn(async move { send(addr, post(START)).await.status() });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut second = Running::start_on(socket, &set);
    assert_eq!(waiting.await.unwrap(), StatusCode::OK);
    assert_eq!(forwarded(&api).await.len(), 9);
    assert_eq!(second.end("-TERM"), 0);
}

#[test]
fn an_inherited_unix_socket_keeps_its_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("proxy.sock");
    let socket = UnixListener::bind(&path).unwrap();
    let mut proxy = Running::start_on(socket, &[]);
    assert!(
        proxy
            .log
            .contains(&format!("address=unix:{}", path.display())),
        "{}",
        proxy.log
    );

    let mut caller = UnixStream::connect(&path).unwrap();
    caller
        .write_all(b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    caller.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("path_unknown"), "{answer}");

    assert_eq!(proxy.end("-TERM"), 0);
    assert!(path.exists(), "the file of systemd's socket was removed");
}

#[test]
fn an_inherited_non_listener_is_an_error() {
    let file = tempfile::tempfile().unwrap();
    let (connected, _other) = UnixStream::pair().unwrap();
    let datagram = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    for what in [
        file.into(),
        connected.into(),
        std::os::fd::OwnedFd::from(datagram),
    ] {
        let output = handed(what, "$$", &[]).output().unwrap();
        let (_, err) = text(&output);
        assert_eq!(output.status.code(), Some(1), "{err}");
        assert!(
            err.contains("is not a listening TCP or Unix stream socket"),
            "{err}"
        );
        assert!(err.contains("\n  fix: "), "{err}");
    }
}

#[test]
fn sockets_for_another_process_are_ignored() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let mut command = handed(socket, "1", &["listen.address=127.0.0.1:1"]);
    // It tries the address of its configuration, a port that it may not have or that it must not
    // share.
    command.args(["--set", &format!("listen.address={address}")]);
    let output = command.output().unwrap();
    let (_, err) = text(&output);
    assert!(
        err.contains(&format!("cannot listen on {address}")),
        "{err}"
    );
}

/// The address of the socket is asked what `listen.address` is.
#[test]
fn an_open_inherited_socket_needs_callers() {
    let socket = TcpListener::bind("0.0.0.0:0").unwrap();
    let output = handed(socket, "$$", &[]).output().unwrap();
    let (_, err) = text(&output);
    assert_eq!(output.status.code(), Some(64), "{err}");
    assert!(err.contains("is open to the network"), "{err}");
}

#[test]
fn systemd_accepts_the_units() {
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/systemd");
    let directory = tempfile::tempdir().unwrap();
    let service = std::fs::read_to_string(units.join("gbg-proxy.service")).unwrap();
    // The command has to be there.
    let service = service.replace("/usr/local/bin/gbg-proxy", env!("CARGO_BIN_EXE_gbg-proxy"));
    std::fs::write(directory.path().join("gbg-proxy.service"), service).unwrap();
    std::fs::copy(
        units.join("gbg-proxy.socket"),
        directory.path().join("gbg-proxy.socket"),
    )
    .unwrap();
    for arguments in [
        &["verify", "./gbg-proxy.service", "./gbg-proxy.socket"][..],
        // 10.0 is exposed to everything; what is left is the network, and users by their numbers.
        &[
            "security",
            "--offline=true",
            "--threshold=20",
            "./gbg-proxy.service",
        ],
    ] {
        let output = Command::new("systemd-analyze")
            .args(arguments)
            .current_dir(directory.path())
            .output();
        let Ok(output) = output else {
            println!("skipped: systemd-analyze is not installed");
            return;
        };
        let (out, err) = text(&output);
        if err.contains("unrecognized option") {
            println!("skipped: this systemd-analyze does not know {arguments:?}");
            continue;
        }
        // It may have something to say of the machine's own units.
        assert!(
            output.status.success() && !err.contains("gbg-proxy"),
            "{arguments:?}: {out}{err}"
        );
    }
}
