//! Connections of `gbg-proxy doctor` that fail: names, ports, the egress proxy, TLS and its
//! certificates.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;
use wiremock::ResponseTemplate;

use crate::cli::doctor::{NOWHERE, doctor, examine, sandbox};
use crate::support::egress::{Egress, answering, tls_before};
use crate::support::process::with_client;
use crate::support::server::{scripted, token_endpoint_for};
use crate::support::{answer, api, token_endpoint};

#[tokio::test]
async fn an_unknown_issuer_does_not_stop_later_steps() {
    let (sandbox, directory, [base_url, endpoint, ca_file]) = sandbox().await;
    let other = directory.path().join("other.pem");
    let mut params = CertificateParams::new([]).unwrap();
    params
        .distinguished_name
        .push(DnType::CommonName, "Another CA");
    std::fs::write(
        &other,
        params
            .self_signed(&KeyPair::generate().unwrap())
            .unwrap()
            .pem(),
    )
    .unwrap();
    let (other_path, other) = (
        other.display().to_string(),
        format!("token.ca_file={}", other.display()),
    );

    let said = doctor(&[&base_url, &endpoint, &ca_file, &other]).await;

    assert_eq!(said.code, Some(1));
    said.assert('✓', "token endpoint: TCP", &[]);
    let parts = [
        "UnknownIssuer",
        "\"CN=rcgen self signed cert\"",
        "corporate proxy",
        &format!("not signed by the certificate in {other_path} (token.ca_file)"),
        &format!("add its root certificate to {other_path}"),
    ];
    said.assert('✗', "token endpoint: TLS", &parts);
    said.assert('✓', "API: TLS", &[]);
    said.assert('✓', "clock", &["agrees with the API"]);
    said.assert('-', "token request", &["not reached"]);
    said.assert('-', "API: call", &["there is no token"]);
    assert_eq!(
        sandbox.token_calls(),
        0,
        "nothing goes to a server that is not trusted"
    );
}

#[tokio::test]
async fn a_replaced_root_of_equal_name_is_recognized() {
    let (_sandbox, _directory, [base_url, endpoint, _]) = sandbox().await;
    let (_earlier, _earlier_directory, [_, _, ca_file]) = self::sandbox().await;

    let said = doctor(&[&base_url, &endpoint, &ca_file]).await;

    assert_eq!(said.code, Some(1));
    said.assert(
        '✗',
        "API: TLS",
        &[
            "a certificate there has the issuer's name",
            "was not replaced",
            "upstream.ca_file",
        ],
    );
}

#[tokio::test]
async fn dead_ports_and_missing_hosts_are_distinguished() {
    let api = api().await;
    let endpoint = format!("token.endpoint={}", token_endpoint(&api));

    let said = doctor(&["upstream.base_url=http://127.0.0.1:1", &endpoint]).await;
    assert_eq!(said.code, Some(1));
    said.assert('-', "token endpoint: TLS", &["plain http://"]);
    said.assert('✓', "token request", &["lifetime of 1h"]);
    said.assert(
        '✗',
        "API: TCP",
        &[
            "127.0.0.1:1: Connection refused (os error 111)",
            "nothing listens on port 1",
        ],
    );
    said.assert('-', "API: TLS", &["there is no connection"]);
    said.assert('-', "API: call", &["the API was not reached"]);

    let mut command = with_client(&["doctor"]);
    command
        .env("HTTPS_PROXY", "http://user:hunter2@proxy.example")
        .env("HTTP_PROXY", NOWHERE);
    let set = [endpoint.as_str(), "upstream.base_url=https://host.invalid"];
    let said = examine(command, &set).await;
    assert_eq!(said.code, Some(1));
    said.assert(
        '✗',
        "API: DNS",
        &[
            "host.invalid:443: the name lookup failed: ",
            "no such host",
            "HTTPS_PROXY is set but ignored",
        ],
    );
    said.assert('-', "API: TCP", &["there is no address"]);
    said.assert('✓', "token request", &["lifetime of 1h"]);
    assert!(!said.out.contains("hunter2"), "{}", said.out);
}

#[tokio::test]
async fn doctor_uses_the_egress_proxy() {
    let api = api().await;
    answer(&api, ResponseTemplate::new(200)).await;
    let (tls, pem) = tls_before(*api.address(), &["api.example", "tokens.example"], None).await;
    let directory = tempfile::tempdir().unwrap();
    let ca_file = directory.path().join("ca.pem");
    std::fs::write(&ca_file, pem).unwrap();
    let ca_file = format!("upstream.ca_file={}", ca_file.display());
    let names = [
        "upstream.base_url=https://api.example",
        "token.endpoint=https://tokens.example/as/token.oauth2",
    ];
    let egress = Egress::to(tls).await;

    let said = doctor(&[
        names[0],
        names[1],
        &ca_file,
        &egress.set_with("ada:hunter2", directory.path()),
    ])
    .await;

    assert_eq!(said.code, Some(0), "{}", said.out);
    for server in ["token endpoint", "API"] {
        said.assert(
            '✓',
            &format!("{server}: DNS"),
            &["the egress proxy 127.0.0.1 is an IP address"],
        );
        said.assert('✓', &format!("{server}: TLS"), &["TLS 1.3"]);
    }
    said.assert(
        '✓',
        "egress proxy: CONNECT",
        &["tunnel to tokens.example:443 through the egress proxy 127.0.0.1:"],
    );
    said.assert('✓', "API: call", &["200", "accepted"]);
    assert!(
        egress
            .heads()
            .iter()
            .all(|head| head.contains("proxy-authorization: basic ywrhomh1bnrlcji="))
    );
    assert!(
        !said.out.contains("hunter2") && !said.out.contains("YWRh"),
        "{}",
        said.out
    );

    for (answer, expected) in [
        ("HTTP/1.1 407 No\r\n\r\n", "requires a user and a password"),
        (
            "HTTP/1.1 403 No\r\n\r\n",
            "to allow CONNECT to tokens.example:443",
        ),
    ] {
        let addr = answering(vec![answer].leak()).await;
        let said = doctor(&[
            names[0],
            names[1],
            &format!("upstream.egress_proxy=http://{addr}"),
        ])
        .await;
        assert_eq!(said.code, Some(1));
        said.assert('✗', "egress proxy: CONNECT", &[&answer[9..12], expected]);
        said.assert('-', "API: TLS", &["there is no tunnel"]);
    }
    let said = doctor(&[
        names[0],
        names[1],
        "upstream.egress_proxy=http://127.0.0.1:1",
    ])
    .await;
    said.assert(
        '✗',
        "token endpoint: TCP",
        &[
            "the egress proxy 127.0.0.1:1: Connection refused",
            "check the host and port in upstream.egress_proxy",
        ],
    );
}

#[tokio::test]
async fn an_invalid_certificate_is_reported_with_its_cause() {
    let tokens = api().await;
    let endpoint = format!("token.endpoint={}", token_endpoint(&tokens));
    for (name, is_ca, ended, expected) in [
        (
            "localhost",
            IsCa::NoCa,
            true,
            "the certificate expired at Mon, 01 Jan 2001 00:00:00 GMT",
        ),
        (
            "other.example",
            IsCa::NoCa,
            false,
            "another server responded",
        ),
        (
            "localhost",
            IsCa::Ca(BasicConstraints::Unconstrained),
            false,
            "the certificate of a CA as its own",
        ),
    ] {
        let key = KeyPair::generate().unwrap();
        let mut certificate = CertificateParams::new([name.to_owned()]).unwrap();
        certificate.is_ca = is_ca;
        if ended {
            certificate.not_before = date_time_ymd(2000, 1, 1);
            certificate.not_after = date_time_ymd(2001, 1, 1);
        }
        let certificate = certificate.self_signed(&key).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let ca_file = directory.path().join("ca.pem");
        std::fs::write(&ca_file, certificate.pem()).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions();
        let tls = tls
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key);
        let acceptor = TlsAcceptor::from(Arc::new(tls.unwrap()));
        let addr = scripted(move |stream| {
            let accepted = acceptor.accept(stream);
            async move { drop(accepted.await) }
        })
        .await;

        let base_url = format!("upstream.base_url=https://localhost:{}", addr.port());
        let ca_file = format!("upstream.ca_file={}", ca_file.display());
        let said = doctor(&[&endpoint, &base_url, &ca_file]).await;

        assert_eq!(said.code, Some(1));
        said.assert(
            '✗',
            "API: TLS",
            &["issued by \"CN=rcgen self signed cert\"", expected],
        );
        said.assert('✓', "token request", &[]);
    }
}

/// With TLS 1.2 the handshake itself fails without the certificate; with 1.3 whatever comes after
/// it.
#[tokio::test]
async fn the_client_certificate_reaches_the_token_endpoint() {
    let api = api().await;
    answer(&api, ResponseTemplate::new(404)).await;
    let base_url = format!("upstream.base_url={}", api.uri());
    let directory = tempfile::tempdir().unwrap();
    let write = |key: &str, text: String| {
        let file = directory.path().join(key);
        std::fs::write(&file, text).unwrap();
        format!("token.{key}={}", file.display())
    };
    let client = rcgen::generate_simple_self_signed(["the-client".to_owned()]).unwrap();
    let cert = write("client_cert", client.cert.pem());
    let key = write("client_key", client.signing_key.serialize_pem());
    for (version, name) in [
        (&rustls::version::TLS12, "TLS 1.2"),
        (&rustls::version::TLS13, "TLS 1.3"),
    ] {
        let (url, ca) = token_endpoint_for(client.cert.der(), version).await;
        let (endpoint, ca_file) = (format!("token.endpoint={url}"), write("ca_file", ca));

        let said = doctor(&[
            &endpoint,
            &base_url,
            &ca_file,
            "token.client_auth=tls",
            &cert,
            &key,
        ])
        .await;

        assert_eq!(said.code, Some(0), "{}", said.out);
        said.assert('✓', "token.client_cert", &["found in /"]);
        said.assert('✓', "token endpoint: TLS", &[name]);
        said.assert('✓', "clock", &["agrees with the token endpoint"]);
        said.assert('✓', "token request", &["lifetime of 1m"]);
    }
}
