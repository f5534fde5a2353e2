//! Callers that are known by a certificate or as a user of a Unix socket, and the name that the log
//! has of them.

use std::fs;
use std::os::unix::fs::MetadataExt;

use rcgen::SanType;
use rustls::version::TLS13;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::proxy::authenticate::{START, content};
use crate::support::configured_callers::{KeyedCaller, config_file};
use crate::support::process::Running;
use crate::support::tls::{ClientCa, Identity, connect_with};
use crate::support::{TestProxy, token_endpoint};

/// What the log says of a request, of the caller above all.
fn line_of<'a>(log: &'a str, id: &str) -> &'a str {
    log.lines()
        .find(|line| line.contains(&format!("request_id=\"{id}\"")))
        .unwrap()
}

#[tokio::test]
async fn the_log_names_every_kind_of_caller() {
    let api = content().await;
    let crm = KeyedCaller::new("crm", "allow = [\"/v2/captain/journey/\"]");
    let ca = ClientCa::new();
    let mut identity = Identity::new();
    identity.renew();
    let ca_path = identity.path("ca.pem");
    fs::write(&ca_path, ca.pem()).unwrap();
    let certified =
        "[[caller]]\nname = \"certified\"\ncertificate = \"crm.corp.example\"\n".to_owned();
    let file = config_file(&[crm.table(), certified]);
    let set = [
        format!("upstream.base_url={}", api.uri()),
        format!("token.endpoint={}", token_endpoint(&api)),
        format!("listen.tls.client_ca={}", ca_path.display()),
    ];
    let set: Vec<_> = set
        .iter()
        .map(String::as_str)
        .chain(identity.set())
        .collect();
    let mut running = Running::start_with_file(file.path(), &set);
    let roots = identity.roots.clone();
    let shown = |name| ca.certify(name);
    let addr = running.addr();
    let ask_for = async |path: &str, certificate, id: &str, fields: &str| {
        let mut tls = connect_with(addr, roots.clone(), certificate, &TLS13)
            .await
            .unwrap();
        let head = format!(
            "POST {path}?secret=1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Proxy-Request-Id: {id}\r\n\
             {fields}Content-Length: 3\r\n\r\nabc"
        );
        tls.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let _ = tls.read_to_string(&mut answer).await;
        answer
    };
    let ask =
        async |certificate, id: &str, fields: &str| ask_for(START, certificate, id, fields).await;
    let key = format!("X-Api-Key: {}\r\n", crm.key);
    assert!(
        ask(shown("crm.corp.example"), "by-certificate", &key)
            .await
            .starts_with("HTTP/1.1 200")
    );
    assert!(
        ask(shown("other.example"), "by-key", &key)
            .await
            .starts_with("HTTP/1.1 200")
    );
    assert!(
        ask(shown("other.example"), "unknown", "")
            .await
            .starts_with("HTTP/1.1 401")
    );
    let foreign = ask_for(
        "/captain/api/x",
        shown("other.example"),
        "not-its-own",
        &key,
    )
    .await;
    assert!(foreign.starts_with("HTTP/1.1 403"), "{foreign}");
    assert_eq!(running.end("-TERM"), 0);
    let line = line_of(&running.log, "by-certificate");
    for part in [
        "caller=\"certified\"",
        "account=\"default\"",
        "peer=127.0.0.1:",
        "method=\"POST\"",
        "path=\"/v2/captain/journey/start\"",
        "status=200",
        "source=\"gbg\"",
        "bytes_in=3",
        "bytes_out=0",
        " duration_ms=",
        "upstream_ms=",
        "generation=1",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert!(line_of(&running.log, "by-key").contains("caller=\"crm\""));
    let line = line_of(&running.log, "not-its-own");
    assert!(
        line.contains("caller=\"crm\"") && line.contains("reason=\"path_not_allowed\""),
        "{line}"
    );
    let line = line_of(&running.log, "unknown");
    assert!(
        line.contains("source=\"proxy\" reason=\"caller_unknown\"")
            && !line.contains("caller=\"")
            && !line.contains("account="),
        "{line}"
    );
    assert!(
        !line.contains("upstream_ms") && !line.contains("generation"),
        "{line}"
    );
    assert!(
        !running.log.contains(&crm.key) && !running.log.contains("secret=1"),
        "{}",
        running.log
    );
}

/// What only reads like the name of a caller is not that name.
#[tokio::test]
async fn certificate_names_count_with_their_type() {
    let api = content().await;
    let (identity, ca) = (Identity::new(), ClientCa::new());
    let ca_path = identity.path("ca.pem");
    fs::write(&ca_path, ca.pem()).unwrap();
    const NAMES: [&str; 4] = [
        "crm.corp.example",
        "spiffe://corp/crm",
        "192.0.2.7",
        "crm@corp.example",
    ];
    let table = |name: &str| {
        let number = NAMES.iter().position(|other| *other == name).unwrap();
        format!("[[caller]]\nname = \"caller-{number}\"\ncertificate = \"{name}\"\n")
    };
    let client_ca = format!("listen.tls.client_ca={}", ca_path.display());
    let [cert, key] = identity.set();
    let proxy = TestProxy::before(&api)
        .callers(&NAMES.map(table))
        .set(&[cert, key, &client_ca])
        .start()
        .await;
    let ask = async |name: SanType| {
        let shown = ca.certify_name(name);
        let mut tls = connect_with(proxy.addr(), identity.roots.clone(), shown, &TLS13)
            .await
            .unwrap();
        let head = format!("GET {START} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        tls.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let _ = tls.read_to_string(&mut answer).await;
        answer
    };
    let text = |name: &str| name.try_into().unwrap();
    for (name, status) in [
        (SanType::DnsName(text("CRM.corp.example")), "200"),
        (SanType::URI(text("spiffe://corp/crm")), "200"),
        (SanType::IpAddress([192, 0, 2, 7].into()), "200"),
        (SanType::Rfc822Name(text("crm@corp.example")), "200"),
        (SanType::URI(text("crm.corp.example")), "401"),
        (SanType::Rfc822Name(text("crm.corp.example")), "401"),
        (SanType::DnsName(text("192.0.2.7")), "401"),
        (SanType::URI(text("192.0.2.7")), "401"),
        (SanType::DnsName(text("spiffe://corp/crm")), "401"),
        (SanType::DnsName(text("crm@corp.example")), "401"),
        (SanType::URI(text("crm@corp.example")), "401"),
    ] {
        let answer = ask(name.clone()).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{name:?}: {answer}"
        );
    }
}

#[tokio::test]
async fn a_unix_socket_caller_is_identified_by_uid() {
    let api = content().await;
    let directory = tempfile::tempdir().unwrap();
    let uid = fs::metadata(directory.path()).unwrap().uid();
    let socket = directory.path().join("s");
    let address = format!("listen.address=unix:{}", socket.display());
    let of = |uid| vec![format!("[[caller]]\nname = \"local\"\nuid = {uid}\n")];
    for (uid, status) in [(uid, "200"), (uid + 1, "401")] {
        let proxy = TestProxy::before(&api)
            .callers(&of(uid))
            .set(&[&address])
            .start()
            .await;
        let mut stream = UnixStream::connect(&socket).await.unwrap();
        // Over a Unix socket any host will do: no browser comes this way.
        let head =
            format!("GET {START} HTTP/1.1\r\nHost: whatever.example\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{answer}"
        );
        proxy.shut_down().await;
    }
}
