//! Tests of the advice for each failure.

use super::super::connect::Limit;
use super::*;
use crate::config::{HttpUrl, Origin};

fn way(ignored: Option<&'static str>) -> Way {
    let url = HttpUrl::try_from("https://a.example".to_owned()).unwrap();
    let (name, keys, ca_key) = ("API", "upstream.base_url", "upstream.ca_file");
    let (origin, roots) = (Origin::of(&url).unwrap(), Vec::new());
    let limit = Limit {
        time: Duration::from_secs(3),
        key: "upstream.connect_timeout",
    };
    let (connect, response) = (limit, limit);
    Way {
        name,
        origin,
        roots,
        identity: None,
        egress: None,
        keys,
        ca_key,
        connect,
        response,
        ignored,
    }
}

fn shown() -> Shown {
    let (issuer, anchor) = ("CN=Inner".to_owned(), "CN=Corporate Root".to_owned());
    Shown {
        version: "TLS 1.3",
        issuer,
        anchor,
        ends: 1_000_000_000 + 20 * DAY,
    }
}

fn at(days: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000 + days * 86_400)
}

fn text(advice: &Advice) -> String {
    format!("{}\n{}", advice.cause, advice.fixes.join("\n"))
}

#[test]
fn a_refusal_and_silence_are_different_things() {
    let refused = no_connection(
        &way(None),
        &[io::ErrorKind::TimedOut, io::ErrorKind::ConnectionRefused],
    );
    assert!(
        text(&refused).contains("takes no connections on port 443"),
        "{refused:?}"
    );
    let silent = no_connection(&way(None), &[io::ErrorKind::TimedOut]);
    assert!(
        text(&silent).contains("a.example:443 in the firewall"),
        "{silent:?}"
    );
}

#[test]
fn slow_dns_and_a_missing_host_are_different_things() {
    let missing = text(&no_address(&way(None)));
    assert!(missing.contains("no such host as a.example"), "{missing}");
    let [slow, dead] = [
        text(&slow_lookup(&way(None))),
        text(&no_name_server(&way(None))),
    ];
    for told in [&slow, &dead] {
        assert!(
            told.contains("`dig @ADDRESS a.example`") && !told.contains("no such host"),
            "{told}"
        );
    }
    assert!(
        slow.contains("raise upstream.connect_timeout (3s)"),
        "{slow}"
    );
    assert!(
        dead.contains("whether a.example exists is not known"),
        "{dead}"
    );
}

#[test]
fn what_is_only_slow_is_given_more_time_by_its_key() {
    let told = [
        text(&slow_tunnel(&way(None))),
        text(&no_tls(&way(None), Fault::TimedOut, None, at(0))),
    ];
    assert!(
        told.iter()
            .all(|told| told.contains("raise upstream.connect_timeout (3s)")),
        "{told:?}"
    );
    let closed = text(&no_tls(&way(None), Fault::Closed, None, at(0)));
    assert!(!closed.contains("connect_timeout"), "{closed}");
}

#[test]
fn a_proxy_of_the_environment_is_named() {
    let told = text(&no_address(&way(Some("https_proxy"))));
    assert!(told.contains("https_proxy is set, and ignored"), "{told}");
    assert!(text(&no_address(&way(None))).contains("HTTPS_PROXY and its like"));
}

#[test]
fn what_the_egress_proxy_answers_decides_what_to_do() {
    let of = |status, authorized| {
        let status = StatusCode::from_u16(status).unwrap();
        text(&no_tunnel(
            &way(None),
            &TunnelError::Refused { status, authorized },
        ))
    };
    assert!(
        of(407, false).contains("wants user and password")
            && of(407, false).contains("\"env:NAME\"")
    );
    assert!(of(407, true).contains("user or password is wrong"));
    assert!(of(403, true).contains("to allow CONNECT to a.example:443"));
    assert!(of(502, true).contains("whether it reaches a.example:443"));
    assert!(text(&no_tunnel(&way(None), &TunnelError::NoHttp)).contains("is no HTTP proxy"));
}

#[test]
fn an_unknown_issuer_is_named_with_the_key_that_trusts_it() {
    let told = text(&no_tls(
        &way(None),
        Fault::UnknownIssuer,
        Some(&shown()),
        at(0),
    ));
    assert!(
        told.contains("\"CN=Corporate Root\"") && told.contains("upstream.ca_file"),
        "{told}"
    );
}

#[test]
fn an_expired_certificate_is_told_with_both_times() {
    let told = text(&no_tls(
        &way(None),
        Fault::Expired(Some(shown().ends)),
        Some(&shown()),
        at(40),
    ));
    assert!(
        told.contains("ended at Sat, 29 Sep 2001") && told.contains("it is Fri, 19 Oct 2001"),
        "{told}"
    );
    let told = text(&no_tls(
        &way(None),
        Fault::NotYetValid(Some(1_000_000_000)),
        Some(&shown()),
        SystemTime::UNIX_EPOCH,
    ));
    assert!(
        told.contains("begins at Sun, 09 Sep 2001") && told.contains("set its clock"),
        "{told}"
    );
}

#[test]
fn a_certificate_that_ends_soon_is_told_of() {
    let (what, note) = certificate(&shown(), at(0));
    assert_eq!(
        (what.as_str(), note),
        ("TLS 1.3, issued by \"CN=Inner\", ends in 20 days", None)
    );
    assert!(
        certificate(&shown(), at(7))
            .1
            .unwrap()
            .contains("Sat, 29 Sep 2001")
    );
}

#[test]
fn half_a_minute_is_what_a_clock_may_be_off() {
    assert_eq!(clock(1, "API"), ("agrees with the API".to_owned(), None));
    assert_eq!(clock(-30, "API"), ("30 s behind the API".to_owned(), None));
    assert!(clock(31, "API").1.is_some() && clock(-31, "API").1.is_some());
}
