//! The certificates of the listener and of its callers.

use std::fs;
use std::io;
use std::path::PathBuf;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use crate::support::caller::{PATIENCE, until};
use crate::support::process::Running;
use crate::support::tls::{ClientCa, Identity, connect_tls, connect_with, try_connect_tls};
use crate::support::{Proxy, TestProxy, api};

const STAYS: &str = "the certificate that was read before stays";

/// Sends a request that the proxy answers itself; the first bytes of the answer.
async fn ask(stream: &mut TlsStream<TcpStream>) -> io::Result<String> {
    stream
        .write_all(b"GET /elsewhere HTTP/1.1\r\nHost: a\r\n\r\n")
        .await?;
    let mut answer = Vec::new();
    let read = async {
        while !answer.windows(12).any(|part| part == b"path_unknown") {
            if stream.read_buf(&mut answer).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
        }
        Ok(())
    };
    timeout(PATIENCE, read).await.expect("no answer")?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// A proxy that asks for certificates of `ca`, and the file of that CA.
async fn asking_for(identity: &Identity, ca: &ClientCa) -> (Proxy, PathBuf) {
    let ca_file = identity.path("client_ca.pem");
    fs::write(&ca_file, ca.pem()).unwrap();
    let client_ca = format!("listen.tls.client_ca={}", ca_file.display());
    let [cert, key] = identity.set();
    let proxy = TestProxy::before(&api().await)
        .set(&[cert, key, &client_ca])
        .start()
        .await;
    (proxy, ca_file)
}

#[tokio::test]
async fn new_connections_get_a_renewed_certificate() {
    let mut identity = Identity::new();
    let proxy = TestProxy::before(&api().await)
        .set(&identity.set())
        .start()
        .await;
    let addr = proxy.addr();
    let old_roots = identity.roots.clone();
    let mut old = connect_tls(&proxy, old_roots.clone(), &[]).await;
    ask(&mut old).await.unwrap();

    identity.renew();
    let roots = identity.roots.clone();
    until(async || try_connect_tls(addr, roots.clone()).await.is_ok()).await;

    assert!(
        try_connect_tls(addr, old_roots).await.is_err(),
        "the old certificate is still served"
    );
    assert!(ask(&mut old).await.unwrap().contains("404"));
}

#[tokio::test]
async fn a_broken_certificate_keeps_the_old_one() {
    let mut identity = Identity::new();
    let old_roots = identity.roots.clone();
    let mut running = Running::start(&identity.set());
    let addr = running.addr();

    fs::write(
        identity.path("cert.pem"),
        "-----BEGIN CERTIFICATE-----\nhalf a certi",
    )
    .unwrap();
    running.read_until(STAYS);
    let line = running.log.lines().last().unwrap().to_owned();
    for part in ["WARN", "cert.pem", "listen.tls.cert", "give a PEM file"] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
    ask(&mut try_connect_tls(addr, old_roots).await.unwrap())
        .await
        .unwrap();

    identity.renew();
    running.read_until("new connections are served with the certificate");
    ask(&mut try_connect_tls(addr, identity.roots.clone()).await.unwrap())
        .await
        .unwrap();
    assert_eq!(running.end("-TERM"), 0);
    assert_eq!(running.log.matches(STAYS).count(), 1, "{}", running.log);
}

#[tokio::test]
async fn foreign_client_certificates_are_rejected_but_none_passes() {
    let (identity, ca, foreign) = (Identity::new(), ClientCa::new(), ClientCa::new());
    let (proxy, _) = asking_for(&identity, &ca).await;
    let (addr, roots) = (proxy.addr(), || identity.roots.clone());

    ask(&mut try_connect_tls(addr, roots()).await.unwrap())
        .await
        .unwrap();
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let known = connect_with(addr, roots(), ca.certify("crm.example"), version).await;
        ask(&mut known.unwrap()).await.unwrap();
        // With TLS 1.3 the client finishes its handshake before the server checks the certificate:
        // the rejection is an alert in place of a response.
        let stranger = connect_with(addr, roots(), foreign.certify("crm.example"), version).await;
        let result = match stranger {
            Ok(mut stream) => ask(&mut stream).await.map(drop),
            Err(error) => Err(error),
        };
        let error = result
            .expect_err("a foreign certificate is taken")
            .to_string();
        assert!(
            error.contains("UnknownCA") || error.contains("alert"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_reload_changes_the_client_ca() {
    let (identity, first, second) = (Identity::new(), ClientCa::new(), ClientCa::new());
    let (proxy, ca_file) = asking_for(&identity, &first).await;
    let (addr, version) = (proxy.addr(), &rustls::version::TLS12);

    fs::write(&ca_file, second.pem()).unwrap();
    let connect = async |ca: &ClientCa| {
        connect_with(
            addr,
            identity.roots.clone(),
            ca.certify("crm.example"),
            version,
        )
        .await
    };
    until(async || connect(&second).await.is_ok()).await;
    assert!(
        connect(&first).await.is_err(),
        "the old one is still asked for"
    );
}
