//! Dialing with addresses and a resolver of the test.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::{TcpListener, TcpSocket};
use tokio::time::timeout;

use super::*;
use crate::upstream::timeouts::tests::load_config;

const LIMIT: Duration = Duration::from_secs(10);

fn deadline(time: Duration) -> ConnectDeadline {
    ConnectDeadline::after(time, "upstream.connect_timeout")
}

/// A dialer of `a.example`, whose lookups return `addrs` after `delay`, and a counter of lookups.
fn dialer(addrs: &[SocketAddr], delay: Duration) -> (Dialer, Arc<AtomicUsize>) {
    let (addrs, lookups) = (addrs.to_vec(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&lookups);
    let origin = load_config("upstream.base_url=https://a.example").origin;
    let dialer = Dialer::new(origin, None).with_resolver(move |host, _| {
        assert_eq!(host, "a.example");
        counted.fetch_add(1, Ordering::SeqCst);
        let addrs = addrs.clone();
        Box::pin(async move {
            sleep(delay).await;
            Ok(addrs)
        })
    });
    (dialer, lookups)
}

/// The address that accepts the connection.
async fn dial(addrs: &[SocketAddr]) -> Result<SocketAddr, DialError> {
    let dialed = dialer(addrs, Duration::ZERO)
        .0
        .dial(&deadline(LIMIT))
        .await?;
    assert_eq!(dialed.addr, dialed.tcp.peer_addr().unwrap());
    Ok(dialed.addr)
}

/// `addr` on another loopback address, without a listener.
fn at(addr: SocketAddr, last: u8) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::new(127, 0, 0, last).into(), addr.port())
}

/// Makes `addr` as silent as a host that is down: a listener with a full queue ignores SYNs.
async fn silence(addr: SocketAddr) -> Vec<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(addr).unwrap();
    let listener = socket.listen(0).unwrap();
    let mut queue = Vec::new();
    while let Ok(Ok(waiting)) = timeout(Duration::from_millis(200), TcpStream::connect(addr)).await
    {
        queue.push(waiting);
        assert!(queue.len() < 64, "the queue never fills");
    }
    // Closed with the test.
    tokio::spawn(async move {
        let _listener = listener;
        std::future::pending::<()>().await;
    });
    queue
}

#[test]
fn the_families_of_addresses_alternate() {
    let v4 = |last| SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 1));
    let v6 = |port| SocketAddr::from((Ipv6Addr::LOCALHOST, port));
    assert_eq!(
        interleave(vec![v6(1), v6(2), v6(3), v4(1), v4(2)]),
        [v6(1), v4(1), v6(2), v4(2), v6(3)]
    );
    assert_eq!(interleave(vec![v4(1), v4(2), v6(1)]), [v4(1), v6(1), v4(2)]);
    assert_eq!(interleave(vec![]), []);
}

#[tokio::test]
async fn every_address_is_tried_until_one_accepts() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let live = listener.local_addr().unwrap();
    let (dead, v6) = (
        at(live, 2),
        SocketAddr::from((Ipv6Addr::LOCALHOST, live.port())),
    );
    for addrs in [
        &[dead, live][..],
        &[v6, live],
        &[v6, dead, live],
        &[live, v6],
    ] {
        assert_eq!(dial(addrs).await.unwrap(), live, "{addrs:?}");
    }
    let error = dial(&[dead, v6]).await.unwrap_err().to_string();
    let refused = "a.example:443: Connection refused (os error 111) at 127.0.0.2";
    assert!(
        error.starts_with(refused) && error.ends_with(" ::1"),
        "{error}"
    );
}

/// Paused time makes this independent of the load of the machine.
#[tokio::test(start_paused = true)]
async fn the_next_address_is_tried_within_300ms() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let live = listener.local_addr().unwrap();
    let silent = [at(live, 2), at(live, 3)];
    let _queues = [silence(silent[0]).await, silence(silent[1]).await];
    for (addrs, silent) in [
        (&[silent[0], live][..], 1),
        (&[silent[0], silent[1], live], 2),
    ] {
        let began = Instant::now();
        assert_eq!(dial(addrs).await.unwrap(), live);
        let took = began.elapsed();
        assert!(
            took >= ATTEMPT_DELAY * silent,
            "{took:?}: the silent one was not tried"
        );
        assert!(took <= Duration::from_millis(300) * silent, "{took:?}");
    }
}

/// The first address accepts long after the second has refused.
#[tokio::test]
async fn a_slow_address_is_not_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let live = listener.local_addr().unwrap();
    let slow = at(live, 2);
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(slow).unwrap();
    let full = socket.listen(0).unwrap();
    let mut queue = Vec::new();
    while let Ok(Ok(waiting)) = timeout(Duration::from_millis(200), TcpStream::connect(slow)).await
    {
        queue.push(waiting);
    }
    let accept = async {
        sleep(ATTEMPT_DELAY * 2).await;
        while let Ok((taken, _)) = full.accept().await {
            queue.push(taken);
        }
    };
    let addrs = [slow, at(slow, 4)];
    tokio::select! {
        dialled = dial(&addrs) => assert_eq!(dialled.unwrap(), slow),
        () = accept => {}
    }
}

/// Returns the addresses in SYN_SENT. Ports are unique to the test, so sockets of others do not
/// count.
#[cfg(target_os = "linux")]
fn connecting(addrs: &[SocketAddr]) -> Vec<SocketAddr> {
    const SYN_SENT: &str = "02";
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let is_connecting = |addr: &&SocketAddr| {
        let IpAddr::V4(ip) = addr.ip() else {
            panic!("{addr}")
        };
        let remote = format!(
            "{:08X}:{:04X}",
            u32::from_ne_bytes(ip.octets()),
            addr.port()
        );
        table.lines().any(|line| {
            let mut fields = line.split_whitespace().skip(2);
            (fields.next(), fields.next()) == (Some(&remote), Some(SYN_SENT))
        })
    };
    addrs.iter().filter(is_connecting).copied().collect()
}

#[cfg(target_os = "linux")]
#[tokio::test(start_paused = true)]
async fn silent_addresses_take_two_sockets_at_most() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent: Vec<_> = (2..8)
        .map(|last| at(listener.local_addr().unwrap(), last))
        .collect();
    let mut queues = Vec::new();
    for addr in &silent {
        queues.push(silence(*addr).await);
    }
    let mut tried = std::collections::BTreeSet::new();
    let count = async {
        loop {
            sleep(ATTEMPT_DELAY / 5).await;
            let open = connecting(&silent);
            assert!(open.len() <= MAX_ATTEMPTS as usize, "{open:?}");
            tried.extend(open);
        }
    };
    tokio::select! {
        dialled = dial(&silent) => assert!(matches!(dialled, Err(DialError::Timeout(_))), "{dialled:?}"),
        () = count => {}
    }
    assert_eq!(tried.len(), silent.len(), "{tried:?}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_address_is_tried_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let live = listener.local_addr().unwrap();
    let slow = at(live, 2);
    let silent = [at(live, 3), at(live, 4)];
    let _queues = [silence(silent[0]).await, silence(silent[1]).await];
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(slow).unwrap();
    let full = socket.listen(0).unwrap();
    let mut queue = Vec::new();
    while let Ok(Ok(waiting)) = timeout(Duration::from_millis(200), TcpStream::connect(slow)).await
    {
        queue.push(waiting);
    }
    let accept = async {
        // By then its attempt has been cancelled for the others.
        sleep(ATTEMPT_DELAY * 5 / 2).await;
        while let Ok((taken, _)) = full.accept().await {
            queue.push(taken);
        }
    };
    let addrs = [slow, silent[0], silent[1]];
    tokio::select! {
        dialled = dial(&addrs) => assert_eq!(dialled.unwrap(), slow),
        () = accept => {}
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_names_the_key_and_the_step() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = at(listener.local_addr().unwrap(), 2);
    let _queue = silence(silent).await;
    let (tcp, _) = dialer(&[silent], Duration::ZERO);
    let error = tcp.dial(&deadline(LIMIT)).await.unwrap_err();
    let text = "upstream.connect_timeout (10s) expired during the TCP connection to a.example:443 \
                (127.0.0.2)";
    assert_eq!(error.to_string(), text);
    let (lookup, _) = dialer(&[silent], LIMIT * 2);
    let error = lookup.dial(&deadline(LIMIT)).await.unwrap_err();
    let text = "upstream.connect_timeout (10s) expired during the name lookup of a.example:443";
    assert_eq!(error.to_string(), text);
    assert!(matches!(
        error,
        DialError::Timeout(DeadlineExceeded {
            step: ConnectStep::Lookup,
            ..
        })
    ));
}

#[tokio::test(start_paused = true)]
async fn concurrent_connections_share_one_lookup() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let live = listener.local_addr().unwrap();
    let (dialer, lookups) = dialer(&[live], Duration::from_secs(5));
    let limit = deadline(LIMIT);
    let dialled = futures_util::future::join_all((0..20).map(|_| dialer.dial(&limit))).await;
    assert!(dialled.iter().all(Result::is_ok), "{dialled:?}");
    assert_eq!(lookups.load(Ordering::SeqCst), 1);
    // A finished lookup is not reused: connections follow the DNS.
    assert!(dialer.dial(&deadline(LIMIT)).await.is_ok());
    assert_eq!(lookups.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn a_slow_lookup_serves_the_next_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let live = listener.local_addr().unwrap();
    let (dialer, lookups) = dialer(&[live], Duration::from_secs(5));
    let short = || deadline(Duration::from_secs(3));
    assert!(matches!(
        dialer.dial(&short()).await,
        Err(DialError::Timeout(_))
    ));
    assert_eq!(dialer.dial(&short()).await.unwrap().addr, live);
    assert_eq!(lookups.load(Ordering::SeqCst), 1);
}

/// A dialer whose lookups never end if `hangs` returns true for their number, and a counter of
/// lookups.
fn hanging(
    hangs: impl Fn(usize) -> bool + Send + Sync + 'static,
    addr: SocketAddr,
) -> (Dialer, Arc<AtomicUsize>) {
    let lookups = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&lookups);
    let resolve = move |_, _| {
        let hangs = hangs(counted.fetch_add(1, Ordering::SeqCst));
        Box::pin(async move {
            if hangs {
                std::future::pending().await
            } else {
                Ok(vec![addr])
            }
        }) as LookupFuture
    };
    let origin = load_config("upstream.base_url=https://a.example").origin;
    (Dialer::new(origin, None).with_resolver(resolve), lookups)
}

#[tokio::test(start_paused = true)]
async fn a_second_lookup_runs_beside_one_that_hangs() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let live = listener.local_addr().unwrap();
    let (dialer, lookups) = hanging(|number| number == 0, live);
    let limit = deadline(LIMIT);
    let later = async {
        sleep(Duration::from_secs(7)).await;
        dialer.dial(&deadline(LIMIT)).await
    };
    // The result of the second also serves those that wait for the first.
    let (first, second) = tokio::join!(dialer.dial(&limit), later);
    assert!(first.is_ok() && second.is_ok(), "{first:?} {second:?}");
    assert_eq!(lookups.load(Ordering::SeqCst), 2);
    assert!(dialer.dial(&deadline(LIMIT)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn hanging_lookups_are_bounded() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (dialer, lookups) = hanging(|_| true, listener.local_addr().unwrap());
    for _ in 0..40 {
        let error = dialer.dial(&deadline(LIMIT)).await.unwrap_err();
        assert!(matches!(error, DialError::Timeout(_)), "{error}");
    }
    assert_eq!(lookups.load(Ordering::SeqCst), MAX_LOOKUPS);
    // Also if other lookups end.
    let (dialer, lookups) = hanging(|number| number % 2 == 0, listener.local_addr().unwrap());
    for _ in 0..MAX_LOOKUPS - 1 {
        assert!(dialer.dial(&deadline(LOOKUP_DELAY)).await.is_err());
        assert!(dialer.dial(&deadline(LIMIT)).await.is_ok());
    }
    for _ in 0..4 {
        assert!(dialer.dial(&deadline(LIMIT)).await.is_err());
    }
    assert_eq!(lookups.load(Ordering::SeqCst), 2 * MAX_LOOKUPS - 1);
}

#[test]
fn an_unresponsive_resolver_is_temporary() {
    let of = |text: &str| {
        let error = io::Error::other(format!("failed to lookup address information: {text}"));
        LookupError::new(&error)
    };
    for text in ["Temporary failure in name resolution", "Try again"] {
        assert!(of(text).is_temporary, "{text}");
    }
    let missing = of("Name or service not known");
    assert!(!missing.is_temporary);
    assert_eq!(
        missing.to_string(),
        "the name lookup failed: Name or service not known"
    );
}
