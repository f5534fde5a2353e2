//! Tests of the advice for failed connections.

use super::*;
use crate::cli::doctor::target::TimeLimit;
use crate::config::Origin;

fn target(ignored_proxy: Option<&'static str>) -> Target {
    let url = "https://a.example".parse().unwrap();
    let limit = TimeLimit {
        time: Duration::from_secs(3),
        key: "upstream.connect_timeout",
    };
    Target {
        name: "API",
        origin: Origin::of(&url).unwrap(),
        roots: Vec::new(),
        ca_file: Some(("upstream.ca_file", "/etc/ca.pem".into())),
        identity: None,
        egress: None,
        keys: "upstream.base_url",
        ca_key: "upstream.ca_file",
        connect: limit,
        response: limit,
        ignored_proxy,
    }
}

fn certificate() -> PeerCertificate {
    PeerCertificate {
        version: "TLS 1.3",
        issuer: "CN=Inner".to_owned(),
        anchor: "CN=Corporate Root".to_owned(),
        not_after: 1_000_000_000 + 20 * DAY_SECONDS,
    }
}

fn at(days: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000 + days * 86_400)
}

fn text(advice: &Advice) -> String {
    format!("{}\n{}", advice.cause, advice.fixes.join("\n"))
}

#[test]
fn refused_and_silent_connections_differ() {
    let failed = |kind| (SocketAddr::from(([127, 0, 0, 1], 1)), io::Error::from(kind));
    let refused = no_connection(
        &target(None),
        &[
            failed(io::ErrorKind::TimedOut),
            failed(io::ErrorKind::ConnectionRefused),
        ],
    );
    assert!(
        text(&refused).contains("nothing listens on port 443"),
        "{refused:?}"
    );
    let silent = no_connection(&target(None), &[failed(io::ErrorKind::TimedOut)]);
    assert!(
        text(&silent).contains("a.example:443 in the firewall"),
        "{silent:?}"
    );
}

#[test]
fn slow_dns_and_a_missing_host_differ() {
    let missing = text(&no_address(&target(None)));
    assert!(missing.contains("no such host a.example"), "{missing}");
    let [slow, dead] = [
        text(&slow_lookup(&target(None))),
        text(&no_name_server(&target(None))),
    ];
    for advice in [&slow, &dead] {
        assert!(
            advice.contains("`dig @ADDRESS a.example`") && !advice.contains("no such host"),
            "{advice}"
        );
    }
    assert!(
        slow.contains("raise upstream.connect_timeout (3s)"),
        "{slow}"
    );
    assert!(dead.contains("so a.example may or may not exist"), "{dead}");
}

#[test]
fn a_slow_step_names_its_timeout() {
    let advice = [
        text(&slow_tunnel(&target(None))),
        text(&no_tls(&target(None), TlsErrorKind::TimedOut, None, at(0))),
    ];
    assert!(
        advice
            .iter()
            .all(|advice| advice.contains("raise upstream.connect_timeout (3s)")),
        "{advice:?}"
    );
    let closed = text(&no_tls(&target(None), TlsErrorKind::Closed, None, at(0)));
    assert!(!closed.contains("connect_timeout"), "{closed}");
}

#[test]
fn an_ignored_proxy_variable_is_named() {
    let advice = text(&no_address(&target(Some("https_proxy"))));
    assert!(
        advice.contains("https_proxy is set but ignored"),
        "{advice}"
    );
    assert!(text(&no_address(&target(None))).contains("HTTPS_PROXY and similar"));
}

#[test]
fn the_egress_proxys_status_decides_the_fix() {
    let of = |status, authorized| {
        let status = StatusCode::from_u16(status).unwrap();
        text(&no_tunnel(
            &target(None),
            &TunnelFailure::Refused { status, authorized },
        ))
    };
    assert!(
        of(407, false).contains("requires a user and a password")
            && of(407, false).contains("\"env:NAME\"")
    );
    assert!(of(407, true).contains("the user or password is wrong"));
    assert!(of(403, true).contains("to allow CONNECT to a.example:443"));
    assert!(of(502, true).contains("whether it can reach a.example:443"));
    assert!(
        text(&no_tunnel(&target(None), &TunnelFailure::NoHttp)).contains("is not an HTTP proxy")
    );
}

#[test]
fn an_unknown_issuer_names_the_ca_key() {
    let advice = text(&no_tls(
        &target(None),
        TlsErrorKind::UnknownIssuer,
        Some(&certificate()),
        at(0),
    ));
    assert!(
        advice.contains("\"CN=Corporate Root\"") && advice.contains("upstream.ca_file"),
        "{advice}"
    );
}

#[test]
fn an_expired_certificate_shows_both_times() {
    let advice = text(&no_tls(
        &target(None),
        TlsErrorKind::Expired(Some(certificate().not_after)),
        Some(&certificate()),
        at(40),
    ));
    assert!(
        advice.contains("expired at Sat, 29 Sep 2001")
            && advice.contains("clock shows Fri, 19 Oct 2001"),
        "{advice}"
    );
    let advice = text(&no_tls(
        &target(None),
        TlsErrorKind::NotYetValid(Some(1_000_000_000)),
        Some(&certificate()),
        SystemTime::UNIX_EPOCH,
    ));
    assert!(
        advice.contains("is not valid before Sun, 09 Sep 2001") && advice.contains("set it (NTP)"),
        "{advice}"
    );
}

#[test]
fn a_certificate_that_expires_soon_is_noted() {
    let (what, note) = describe_certificate(&certificate(), at(0));
    assert_eq!(
        (what.as_str(), note),
        ("TLS 1.3, issued by \"CN=Inner\", expires in 20 days", None)
    );
    assert!(
        describe_certificate(&certificate(), at(7))
            .1
            .unwrap()
            .contains("Sat, 29 Sep 2001")
    );
}

#[test]
fn a_clock_may_be_30_seconds_off() {
    assert_eq!(
        compare_clocks(1, "API"),
        ("agrees with the API".to_owned(), None)
    );
    assert_eq!(
        compare_clocks(-30, "API"),
        ("30 s behind the API".to_owned(), None)
    );
    assert!(compare_clocks(31, "API").1.is_some() && compare_clocks(-31, "API").1.is_some());
}
