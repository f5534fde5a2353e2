//! Any list of fields: nothing of one hop and no credential of the caller's is left, nothing that
//! Connection named, and what is ours cannot be taken out or forged.
//!
//! The first byte picks version, path and rules; then comes a field a line.

#![no_main]

use std::cell::RefCell;

use bytes::Bytes;
use gbg_proxy_fuzz::{BEARER, Gate, Outcome};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Request, Version};
use http_body_util::Empty;
use libfuzzer_sys::{Corpus, fuzz_target};

/// More would be refused by the limit of the guard.
const MOST: usize = 100;

const NEVER: [&str; 24] = [
    "keep-alive",
    "expect",
    "baggage",
    "http2-settings",
    "proxy",
    "client-cert",
    "client-cert-chain",
    "remote-user",
    "x-original-url",
    "x-original-host",
    "x-rewrite-url",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-host",
    "x-remote-user",
    "x-forwarded-client-cert",
    "x-forwarded-user",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
    "proxy-authorization",
    "x-api-key",
    "x-proxy-request-id",
];

const PLAIN: &str = "/v2/captain/journey/start";
const CALLERS: &str = "/v2/captain/journey/device/connect";

thread_local! {
    static CLOSED: RefCell<Gate> = RefCell::new(Gate::new(&[]));
    static OPEN: RefCell<Gate> = RefCell::new(Gate::new(&[
        "upstream.forward_cookies=true",
        "upstream.send_forwarded=true",
        "upstream.source=ours",
    ]));
}

fuzz_target!(|data: &[u8]| -> Corpus {
    let [flags, lines @ ..] = data else {
        return Corpus::Reject;
    };
    let (is_http2, is_callers, is_open) = (flags & 1 != 0, flags & 2 != 0, flags & 4 != 0);
    let mut came = fields(lines);
    if !came.contains_key("host") {
        came.insert("host", HeaderValue::from_static("localhost"));
    }
    let mut req = Request::post(if is_callers { CALLERS } else { PLAIN })
        .body(Empty::<Bytes>::new())
        .unwrap();
    *req.version_mut() = if is_http2 {
        Version::HTTP_2
    } else {
        Version::HTTP_11
    };
    *req.headers_mut() = came.clone();
    let gate = if is_open { &OPEN } else { &CLOSED };
    match gate.with(|gate| gate.borrow_mut().pass(req)) {
        Outcome::Refused(status) => {
            assert!(status.is_client_error(), "{status}");
            Corpus::Keep
        }
        Outcome::Sent(parts) => {
            check(&came, &parts.headers, is_callers, is_open);
            Corpus::Keep
        }
    }
});

fn fields(lines: &[u8]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for line in lines.split(|&byte| byte == b'\n').take(MOST) {
        let Some(colon) = line.iter().position(|&byte| byte == b':') else {
            continue;
        };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            fields.append(name, value);
        }
    }
    fields
}

fn check(came: &HeaderMap, sent: &HeaderMap, is_callers: bool, is_open: bool) {
    for name in NEVER {
        assert!(!sent.contains_key(name), "{name} is left of {came:?}");
    }
    if !is_open {
        let is_forwarded = |name: &str| {
            name.starts_with("x-forwarded")
                || [
                    "forwarded",
                    "forwarded-for",
                    "true-client-ip",
                    "x-client-ip",
                    "x-real-ip",
                ]
                .contains(&name)
        };
        assert!(!sent.contains_key("cookie"), "a cookie is left of {came:?}");
        assert!(
            !sent.keys().any(|name| is_forwarded(name.as_str())),
            "{sent:?} of {came:?}"
        );
    }
    let named = named(came);
    for (name, values) in sent
        .keys()
        .map(|name| (name, sent.get_all(name).iter().collect::<Vec<_>>()))
    {
        let ours = ours(name.as_str(), is_callers, is_open);
        let all = came.get_all(name).iter().collect::<Vec<_>>();
        // The last one is ours, and those before are the caller's, unless Connection named them.
        let theirs = match (&ours, name.as_str()) {
            (Some(_), "x-gbg-source") if !all.is_empty() && !named.contains(name) => &values[..],
            (Some(ours), _) => {
                let (last, before) = values.split_last().unwrap();
                let last = last.to_str().unwrap();
                // The pseudonym ends in what is random.
                let is_ours = |ours: &&str| match name.as_str() {
                    "via" => last.starts_with(ours),
                    _ => last == *ours,
                };
                assert!(ours.iter().any(is_ours), "{name}: {last:?} is not ours");
                before
            }
            _ => &values[..],
        };
        assert!(
            theirs.is_empty() || !named.contains(name),
            "{name} was named by Connection: {came:?}"
        );
        if name != "cookie" {
            assert!(
                theirs.iter().all(|value| all.contains(value)),
                "{name}: {theirs:?} of {all:?}"
            );
        }
        if name == "authorization" || name == "te" {
            assert_eq!(values.len(), 1, "{name} twice");
        }
    }
    let must = [
        ("via", true),
        ("authorization", !is_callers),
        ("x-gbg-source", is_open),
        ("forwarded", is_open),
    ];
    for (name, _) in must.iter().filter(|(_, must)| *must) {
        assert!(
            sent.contains_key(*name),
            "our {name} was taken out by {came:?}"
        );
    }
}

/// What we put there ourselves, if we do.
fn ours(name: &str, is_callers: bool, is_open: bool) -> Option<&'static [&'static str]> {
    match name {
        "via" => Some(&["1.1 gbg-proxy-", "2 gbg-proxy-"]),
        "te" => Some(&["trailers"]),
        "connection" => Some(&["te"]),
        "authorization" if !is_callers => Some(&[BEARER]),
        "forwarded" if is_open => Some(&["for=192.0.2.1"]),
        "x-forwarded-for" if is_open => Some(&["192.0.2.1"]),
        "x-gbg-source" if is_open => Some(&["ours"]),
        _ => None,
    }
}

/// The names that Connection lists (RFC 9110 section 7.6.1), read as a list of tokens.
fn named(came: &HeaderMap) -> Vec<HeaderName> {
    let values = came.get_all("connection").iter();
    let members = values.flat_map(|value| value.as_bytes().split(|&byte| byte == b','));
    members
        .filter_map(|member| HeaderName::from_bytes(member.trim_ascii()).ok())
        .collect()
}
