//! Tests of the fields that are removed and added.

use super::*;

const POLICY: HeaderPolicy = HeaderPolicy {
    forward_cookies: false,
    send_forwarded: false,
    source: None,
};

fn cleaned(policy: &HeaderPolicy, version: Version, fields: &[(&str, &str)]) -> Vec<String> {
    let mut req = Request::builder().version(version);
    for (name, value) in fields {
        req = req.header(*name, *value);
    }
    let mut req = req.body(()).unwrap();
    let connection = ConnectionIdentity {
        addr: Some(([10, 0, 0, 9], 4711).into()),
        ..ConnectionIdentity::default()
    };
    policy.clean(&mut req, &connection);
    let own = format!(
        " {}",
        via::header_value(Version::HTTP_2)
            .to_str()
            .unwrap()
            .split_once(' ')
            .unwrap()
            .1
    );
    let shown = |value: &HeaderValue| value.to_str().unwrap().replace(&own, " ours");
    req.headers()
        .iter()
        .map(|(name, value)| format!("{name}: {}", shown(value)))
        .collect()
}

#[test]
fn hop_by_hop_fields_and_credentials_are_removed() {
    let left = cleaned(
        &POLICY,
        Version::HTTP_11,
        &[
            ("connection", "close, X-Once , x-other"),
            ("x-once", "1"),
            ("X-Other", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "close"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("te", "trailers"),
            ("trailer", "x-api-key"),
            ("proxy-authorization", "Basic a"),
            ("x-api-key", "k"),
            ("cookie", "a=b"),
            ("x-proxy-request-id", "1"),
            ("accept", "*/*"),
            ("x-gbg-source", "us"),
        ],
    );
    assert_eq!(
        left,
        [
            "trailer: x-api-key",
            "x-gbg-source: us",
            "accept: */*",
            "te: trailers",
            "connection: te",
            "via: 1.1 ours"
        ]
    );
}

#[test]
fn misspelt_framing_fields_are_removed() {
    let fields = [
        ("content-length", "3"),
        ("Content_Length", "5"),
        ("Transfer_Encoding", "chunked"),
        ("transfer_Encoding", "gzip"),
        ("Proxy_Connection", "close"),
        ("Keep_Alive", "timeout=5"),
        ("X_Other", "1"),
        ("content_type", "text/plain"),
    ];
    let mut left = cleaned(&POLICY, Version::HTTP_11, &fields);
    left.sort_unstable();
    assert_eq!(
        left,
        [
            "content-length: 3",
            "content_type: text/plain",
            "via: 1.1 ours",
            "x_other: 1"
        ]
    );
}

#[test]
fn configured_fields_are_passed_on_and_added() {
    let source = Some(HeaderValue::from_static("crm"));
    let policy = HeaderPolicy {
        forward_cookies: true,
        send_forwarded: true,
        source,
    };
    let fields = [
        ("cookie", "a=b"),
        ("x-forwarded-for", "10.1.2.3"),
        ("cookie", "c=d"),
        ("forwarded", "for=x"),
    ];
    assert_eq!(
        cleaned(&policy, Version::HTTP_2, &fields),
        [
            "cookie: a=b; c=d",
            "x-forwarded-for: 10.1.2.3",
            "x-forwarded-for: 10.0.0.9",
            "forwarded: for=x",
            "forwarded: for=10.0.0.9",
            "x-gbg-source: crm",
            "via: 2 ours"
        ]
    );
    let fields = [("x-gbg-source", "mine"), ("te", "gzip, trailers;q=0.5")];
    assert!(cleaned(&policy, Version::HTTP_11, &fields).contains(&"x-gbg-source: mine".to_owned()));
}

#[test]
fn trailers_are_cleaned_like_fields() {
    let mut fields = HeaderMap::new();
    for name in [
        "Authorization",
        "Host",
        "Content-Length",
        "Transfer-Encoding",
        "X-Api-Key",
        "Cookie",
        "X-T",
        "X_Api_Key",
        "Via",
        "TE",
        "Expect",
        "X-Original-URL",
        "X_HTTP_Method_Override",
        "X-Forwarded-For",
        "Baggage",
    ] {
        fields.insert(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_static("x"),
        );
    }
    let left = clean_trailers(Frame::trailers(fields))
        .into_trailers()
        .unwrap();
    assert_eq!(
        left.keys().map(HeaderName::as_str).collect::<Vec<_>>(),
        ["x-t"]
    );
}
