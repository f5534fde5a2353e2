//! Peers of accepted connections, and bursts of connections.

use std::convert::Infallible;
use std::net::Ipv4Addr;

use http::{Request, Response};
use http_body_util::Empty;
use rcgen::generate_simple_self_signed;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{Semaphore, mpsc};
use tower::service_fn;

use super::*;
use crate::config::{Address, CertificateName, Identity, SocketMode};
use crate::downstream::{CallerBody, MAX_BUFFER_BYTES, RefusalLog, ServerTls, Timeouts, bind};

/// Starts a listener on `address`. Returns its bound address, and a receiver of peers.
fn listen(
    address: &Address,
    tls: Option<ServerTls>,
) -> (Address, mpsc::UnboundedReceiver<PeerInfo>) {
    let socket = bind(address, SocketMode(0o600), 1).unwrap().pop().unwrap();
    let address = socket.address().unwrap();
    let (sender, receiver) = mpsc::unbounded_channel();
    let serve = async move {
        let (_drain, draining) = watch::channel(false);
        let make_service = move |peer| {
            sender.send(peer).unwrap();
            service_fn(|_: Request<CallerBody>| async {
                Ok::<_, Infallible>(Response::new(Empty::<&[u8]>::new()))
            })
        };
        socket
            .serve(options(tls), draining, make_service)
            .await
            .unwrap();
    };
    tokio::spawn(serve);
    (address, receiver)
}

fn options(tls: Option<ServerTls>) -> ServerOptions {
    let minute = Duration::from_secs(60);
    ServerOptions {
        tls: tls.map(|only| watch::channel(only).1),
        timeouts: Timeouts {
            handshake: minute,
            header: minute,
            keep_alive: minute,
            body: minute,
            max_age: minute,
        }
        .fixed(),
        max_h2_streams: 1,
        title_case_headers: false,
        max_buffer_bytes: MAX_BUFFER_BYTES,
        connection_permits: Arc::new(Semaphore::new(8)),
        evicting_limit: None,
        connection_metrics: Arc::default(),
        refusal_log: RefusalLog::new("test", Arc::default()),
    }
}

#[tokio::test]
async fn a_tcp_peer_has_both_addresses() {
    for ip in [Ipv4Addr::LOCALHOST, Ipv4Addr::UNSPECIFIED] {
        let (address, mut peers) = listen(&Address::Tcp((ip, 0).into()), None);
        let Address::Tcp(addr) = address else {
            panic!("{address}")
        };
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, addr.port()))
            .await
            .unwrap();
        let peer = peers.recv().await.unwrap();
        assert_eq!(peer.addr, stream.local_addr().ok());
        assert_eq!(peer.local, stream.peer_addr().ok());
        assert!(!peer.is_tls && peer.certificate.is_none() && peer.uid.is_none());
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_unix_socket_peer_has_its_user() {
    use std::os::unix::fs::MetadataExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let (_, mut peers) = listen(&Address::Unix(path.clone()), None);
    let _stream = UnixStream::connect(&path).await.unwrap();
    let peer = peers.recv().await.unwrap();
    assert_eq!(peer.uid, Some(std::fs::metadata(&path).unwrap().uid()));
    assert!(peer.addr.is_none() && peer.local.is_none());
}

#[tokio::test]
async fn a_peer_has_the_names_of_its_certificate() {
    let made = generate_simple_self_signed(["localhost".into(), "crm.example".into()]).unwrap();
    let (der, key) = (made.cert.der().clone(), || {
        PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap()
    });
    let identity = Identity {
        chain: vec![der.clone()],
        key: Arc::new(key().into()),
    };
    let tls = ServerTls::new(&identity, std::slice::from_ref(&der)).unwrap();
    let (address, mut peers) = listen(&Address::Tcp((Ipv4Addr::LOCALHOST, 0).into()), Some(tls));
    let Address::Tcp(addr) = address else {
        panic!("{address}")
    };
    let mut roots = RootCertStore::empty();
    roots.add(der.clone()).unwrap();
    let caller = ClientConfig::builder().with_root_certificates(roots);
    let with_certificate = caller
        .clone()
        .with_client_auth_cert(vec![der], key())
        .unwrap();
    let without = caller.with_no_client_auth();
    let both = ["localhost", "crm.example"].map(CertificateName::dns);
    for (config, names) in [(with_certificate, Some(&both[..])), (without, None)] {
        let stream = TcpStream::connect(addr).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let mut stream = connector
            .connect("localhost".try_into().unwrap(), stream)
            .await
            .unwrap();
        stream.write_all(b"G").await.unwrap();
        let peer = peers.recv().await.unwrap();
        assert!(peer.is_tls);
        assert_eq!(
            peer.certificate
                .as_ref()
                .map(|certificate| certificate.names()),
            names
        );
    }
}

/// On a listener of at most eight connections, with `active` requests in flight after `earlier`
/// have ended: sends eight more requests at once, and counts the successful responses of both
/// groups.
async fn count_responses(earlier: usize, active: usize) -> [usize; 2] {
    use std::io::{Read, Write};
    const MAX: usize = 8;
    let limit = EvictingLimit::new(MAX, MAX);
    let connections = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
    let options = ServerOptions {
        evicting_limit: Some(limit),
        connection_permits: connections,
        ..options(None)
    };
    let socket = bind(
        &Address::Tcp((Ipv4Addr::LOCALHOST, 0).into()),
        SocketMode(0o600),
        1,
    )
    .unwrap();
    let socket = socket.into_iter().next().unwrap();
    let Address::Tcp(addr) = socket.address().unwrap() else {
        panic!("it is TCP")
    };
    let (begin, mut begun) = mpsc::unbounded_channel();
    let (finish, finished) = watch::channel(false);
    let make_service = move |peer: PeerInfo| {
        let (begin, finished) = (begin.clone(), finished.clone());
        let usage = peer.usage.unwrap();
        service_fn(move |req: Request<CallerBody>| {
            let (begin, mut finished, usage) =
                (begin.clone(), finished.clone(), Arc::clone(&usage));
            async move {
                let _active = usage.begin_request();
                if req.uri().path() == "/slow" {
                    begin.send(()).unwrap();
                    finished.wait_for(|finished| *finished).await.unwrap();
                }
                Ok::<_, Infallible>(Response::new(Empty::<&[u8]>::new()))
            }
        })
    };
    let (_drain, draining) = watch::channel(false);
    tokio::spawn(async move { socket.serve(options, draining, make_service).await.unwrap() });
    // Blocking, so that the runtime accepts all of them at once.
    let connect = |path: &str| {
        let mut stream = std::net::TcpStream::connect(addr).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        stream
    };
    let count = |streams: Vec<std::net::TcpStream>| {
        tokio::task::spawn_blocking(move || {
            let responses = streams.into_iter().filter_map(|mut stream| {
                let mut response = String::new();
                stream
                    .read_to_string(&mut response)
                    .ok()
                    .filter(|_| response.starts_with("HTTP/1.1 200 "))
            });
            responses.count()
        })
    };
    for _ in 0..earlier {
        assert_eq!(count(vec![connect("/")]).await.unwrap(), 1);
    }
    let mut slow = Vec::new();
    for _ in 0..active {
        slow.push(connect("/slow"));
        begun.recv().await.unwrap();
    }
    let others: Vec<_> = (0..MAX).map(|_| connect("/")).collect();
    let others = count(others).await.unwrap();
    finish.send_replace(true);
    [count(slow).await.unwrap(), others]
}

#[tokio::test]
async fn a_burst_evicts_no_active_connection() {
    // A turn of the accept loop may begin at any of them.
    for earlier in 0..8 {
        for active in [1, 4] {
            assert_eq!(
                count_responses(earlier, active).await,
                [active, 8],
                "after {earlier}"
            );
        }
    }
}

#[tokio::test]
async fn no_connection_is_evicted_before_its_task_runs() {
    for earlier in 0..8 {
        let [_, others] = count_responses(earlier, 8).await;
        assert_eq!(others, 8, "after {earlier}");
    }
}
