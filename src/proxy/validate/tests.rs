//! Valid and rejected requests.

use bytes::Bytes;
use http_body_util::{Empty, Full};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

type NoBody = Empty<Bytes>;

fn validator() -> Validator {
    let mut config = crate::proxy::tests::config();
    config.listen.hosts = ["a".to_owned(), "b".to_owned()].into();
    let origins = config.limits.origins.clone().into();
    Validator::new(&config, origins)
}

fn checked<B: Body>(
    validator: &Validator,
    req: &Request<B>,
) -> Result<Option<Response<()>>, Error> {
    let local = ([127, 0, 0, 1], 8080).into();
    validator.check(
        req,
        &Route::new(req, &[]),
        &ConnectionIdentity {
            addr: Some(local),
            local: Some(local),
            ..ConnectionIdentity::default()
        },
    )
}

fn request(target: &str) -> Request<NoBody> {
    Request::builder()
        .uri(target)
        .header(HOST, "localhost")
        .body(NoBody::new())
        .unwrap()
}

#[test]
fn only_paths_below_a_prefix_pass() {
    for good in [
        "/v2/captain/journey/start",
        "/captain/api/journey/start?a=%2e%2e",
        "/v2/captain/",
    ] {
        assert!(checked(&validator(), &request(good)).is_ok(), "{good}");
    }
    for bad in [
        "/",
        "/v2/captain",
        "/V2/captain/x",
        "/designer/api",
        "/x/v2/captain/",
        "/v2/captainx/",
    ] {
        assert!(
            matches!(
                checked(&validator(), &request(bad)),
                Err(Error::PathUnknown { .. })
            ),
            "{bad}"
        );
    }
}

#[test]
fn an_ambiguous_path_is_rejected_with_its_detail() {
    for (path, detail) in [
        ("/v2/captain/../designer", "dot segment"),
        ("/v2/captain/..", "dot segment"),
        ("/v2/captain/..;/x", "dot segment"),
        ("/v2/captain/.;a=1/x", "dot segment"),
        ("/v2/captain/..%3bx/x", "encoded semicolon"),
        ("/v2/captain/./x", "dot segment"),
        ("/v2/captain/.", "dot segment"),
        ("/v2/captain//x", "empty segment"),
        ("/v2/captain/%2e%2E/x", "encoded dot"),
        ("/v2/captain/.%2e/x", "encoded dot"),
        ("/v2/captain/a%2fb", "encoded slash"),
        ("/v2/captain/a%5cb", "encoded backslash"),
        ("/v2/captain/a\\b", "a backslash"),
        ("/v2/captain/\u{e9}", "must be percent-encoded"),
        ("/v2/captain/a%00", "control character"),
        ("/v2/captain/a%7f", "control character"),
        ("/v2/captain/a%c2%85", "control character"),
        ("/v2/captain/a%252e", "encoded percent sign"),
        ("/v2/captain/a%", "two hexadecimal digits"),
        ("/v2/captain/a%zz", "two hexadecimal digits"),
        ("/v2/captain/a%u002e", "two hexadecimal digits"),
    ] {
        assert_rejected(path, detail);
    }
    for good in [
        "/v2/captain/.well-known",
        "/v2/captain/x;a=..",
        "/v2/captain/a.b..c",
        "/v2/captain/...",
        "/v2/captain/%20a",
    ] {
        assert!(check_path(good).is_ok(), "{good}");
    }
}

#[test]
fn encoded_bytes_of_a_path_are_utf_8() {
    for (bytes, detail) in [
        // A slash, a dot and a backslash, each in two to six bytes.
        ("%c0%af", "overlong"),
        ("%C0%AE%c0%ae", "overlong"),
        ("%c1%9c", "overlong"),
        ("%e0%80%af", "overlong"),
        ("%e0%80%ae", "overlong"),
        ("%f0%80%80%af", "overlong"),
        ("%f8%80%80%80%af", "overlong"),
        ("%fc%80%80%80%80%af", "overlong"),
        ("%c0%80", "overlong"),
        ("%e0%9f%bf", "overlong"),
        ("%f0%8f%bf%bf", "overlong"),
        ("%ed%a0%80", "surrogate"),
        ("%ed%bf%bf", "surrogate"),
        ("%f4%90%80%80", "not UTF-8"),
        ("%f8%88%80%80%80", "not UTF-8"),
        ("%80", "not UTF-8"),
        ("%bf", "not UTF-8"),
        ("%ff", "not UTF-8"),
        ("%fe", "not UTF-8"),
        ("%e9", "not UTF-8"),
        ("%c3", "not UTF-8"),
        ("%c3/x", "not UTF-8"),
        ("%e2%82/x", "not UTF-8"),
        ("%c3%20", "not UTF-8"),
        ("%c3a%a4", "not UTF-8"),
        ("%c3%a4%a4", "not UTF-8"),
    ] {
        assert_rejected(&format!("/v2/captain/{bytes}"), detail);
        assert_rejected(&format!("/v2/captain/%c3%a4{bytes}/x"), detail);
    }
    for good in [
        "%c3%a4",
        "x%C3%A4%20~",
        "%e2%82%ac/%f0%9f%98%80",
        "%df%bf%e0%a0%80%ee%80%80%f4%8f%bf%bf",
    ] {
        assert!(check_path(&format!("/v2/captain/{good}")).is_ok(), "{good}");
    }
}

#[test]
fn characters_that_servers_fold_are_rejected() {
    for char in [
        '\u{ff0e}', '\u{2024}', '\u{2025}', '\u{ff0f}', '\u{2215}', '\u{ff3c}', '\u{a5}',
        '\u{20a9}', '\u{ff1b}', '\u{ff05}', '\u{66a}',
    ] {
        let bytes: String = char
            .to_string()
            .bytes()
            .map(|byte| format!("%{byte:02X}"))
            .collect();
        assert_rejected(&format!("/v2/captain/{bytes}/x"), "some servers read as");
    }
}

fn assert_rejected(path: &str, detail: &str) {
    match check_path(path) {
        Err(error @ (Error::BadRequest(_) | Error::EmptySegment)) => {
            let found = error.to_string();
            assert!(found.contains(detail), "{path}: {found}");
        }
        other => panic!("{path}: {other:?}"),
    }
}

/// Whether the path of percent-encoded `bytes` must pass: its ASCII bytes have no meaning in a path,
/// and the others are UTF-8 that no server folds.
fn may_pass(bytes: &[u8]) -> bool {
    const MEANT: &[u8] = b"%./;\\";
    const FOLDED: &str = "\u{2024}\u{2025}\u{2026}\u{fe19}\u{fe30}\u{fe52}\u{ff0e}\u{2044}\u{2100}\u{2101}\u{2105}\u{2106}\
                          \u{2215}\u{ff0f}\u{a5}\u{20a9}\u{2216}\u{fe68}\u{ff3c}\u{37e}\u{fe14}\u{fe54}\u{ff1b}\u{66a}\u{fe6a}\u{ff05}";
    let is_plain = |char: char| !char.is_control() && !FOLDED.contains(char);
    std::str::from_utf8(bytes).is_ok_and(|text| text.chars().all(is_plain))
        && !bytes.iter().any(|byte| MEANT.contains(byte))
}

proptest! {
    #[test]
    fn encoded_bytes_pass_by_the_rules_alone(bytes in vec(prop_oneof![any::<u8>(), 0x80u8..], 1..6)) {
        let encoded: String = bytes.iter().map(|byte| format!("%{byte:02x}")).collect();
        let passed = check_path(&format!("/v2/captain/{encoded}/x")).is_ok();
        prop_assert_eq!(passed, may_pass(&bytes));
    }

    #[test]
    fn every_encoded_character_passes_by_the_rules_alone(char in any::<char>()) {
        let mut bytes = [0; 4];
        let bytes = char.encode_utf8(&mut bytes).as_bytes();
        let encoded: String = bytes.iter().map(|byte| format!("%{byte:02X}")).collect();
        prop_assert_eq!(check_path(&format!("/{encoded}")).is_ok(), may_pass(bytes));
    }
}

#[test]
fn connect_trace_and_asterisk_without_options_are_rejected() {
    for method in [Method::TRACE, Method::CONNECT] {
        let mut req = request("/v2/captain/x");
        *req.method_mut() = method;
        let error = checked(&validator(), &req).unwrap_err();
        assert_eq!(error.reason().name, "method_not_allowed");
    }
    let mut req = request("*");
    assert!(matches!(
        checked(&validator(), &req),
        Err(Error::BadRequest(_))
    ));
    *req.method_mut() = Method::OPTIONS;
    assert!(checked(&validator(), &req).is_ok());
}

#[test]
fn max_forwards_zero_is_answered_locally() {
    for (left, is_last) in [
        ("0", true),
        ("00", true),
        ("1", false),
        ("10", false),
        ("", false),
        ("-0", false),
    ] {
        let mut req = request("/v2/captain/x");
        *req.method_mut() = Method::OPTIONS;
        req.headers_mut()
            .insert(MAX_FORWARDS, left.parse().unwrap());
        assert_eq!(
            checked(&validator(), &req).unwrap().is_some(),
            is_last,
            "{left:?}"
        );
    }
}

#[test]
fn a_request_has_one_valid_host() {
    for good in [
        "a",
        "a:80",
        "a:",
        "EU.example",
        "[::1]",
        "[::1]:8080",
        "a_b.c-d",
        "127.0.0.1:1",
    ] {
        assert!(is_host(good.as_bytes()), "{good}");
    }
    for bad in [
        "", ":80", "a b", "a/b", "u@a", "a:b", "a:80:90", "[::1", "[::1]x", "[x]", "a?b", "a#b",
        "a\\b", "é",
    ] {
        assert!(!is_host(bad.as_bytes()), "{bad}");
    }
    let refused =
        |req: &Request<NoBody>| matches!(checked(&validator(), req), Err(Error::BadRequest(_)));
    let mut req = request("/v2/captain/x");
    req.headers_mut().append(HOST, "other".parse().unwrap());
    assert!(refused(&req));
    req.headers_mut().remove(HOST);
    assert!(refused(&req));
    *req.version_mut() = Version::HTTP_10;
    assert!(checked(&validator(), &req).is_ok());
    assert!(refused(&request("http://u:p@localhost/v2/captain/x")));
}

#[test]
fn an_http2_request_has_one_authority() {
    let check = |target: &str, host: Option<&str>| {
        let mut req = Request::builder().uri(target).version(Version::HTTP_2);
        if let Some(host) = host {
            req = req.header(HOST, host);
        }
        checked(&validator(), &req.body(NoBody::new()).unwrap())
    };
    assert!(check("http://a/v2/captain/x", None).is_ok());
    assert!(check("http://a/v2/captain/x", Some("A")).is_ok());
    assert!(check("/v2/captain/x", Some("a")).is_ok());
    assert!(check("http://a/v2/captain/x", Some("b")).is_err());
    assert!(check("/v2/captain/x", None).is_err());
    for (target, host) in [
        ("http://evil.example/v2/captain/x", None),
        ("/v2/captain/x", Some("evil.example")),
    ] {
        assert!(
            matches!(check(target, host), Err(Error::HostNotAllowed { .. })),
            "{target}"
        );
    }
}

#[test]
fn http2_fields_have_one_length_and_no_padding() {
    let check = |fields: &[(&str, &str)]| {
        let mut req = Request::builder()
            .uri("http://a/v2/captain/x")
            .version(Version::HTTP_2);
        for (name, value) in fields {
            req = req.header(*name, *value);
        }
        checked(&validator(), &req.body(NoBody::new()).unwrap())
    };
    assert!(check(&[("x", "a b"), ("y", "")]).is_ok());
    assert!(check(&[("content-length", "5"), ("content-length", "5")]).is_ok());
    for bad in [
        &[("x", " a")][..],
        &[("x", "a\t")],
        &[("x", " ")],
        &[("content-length", "5"), ("content-length", "6")],
    ] {
        assert!(check(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn a_transfer_encoding_is_one_chunked_or_none() {
    let check = |values: &[&str]| {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(TRANSFER_ENCODING, value.parse().unwrap());
        }
        Head::scan(&headers).check_transfer_encoding()
    };
    assert!(check(&[]).is_ok());
    assert!(check(&["Chunked"]).is_ok());
    for bad in [
        &["gzip, chunked"][..],
        &["chunked", "chunked"],
        &["chunked, chunked"],
        &["identity"],
        &[""],
    ] {
        assert!(check(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn a_request_larger_than_the_limits_is_rejected() {
    let limits = Limits {
        max_target_bytes: 20,
        max_header_fields: 3,
        max_header_bytes: 60,
        max_request_body: 5,
        ..Limits::default()
    };
    let validator = Validator {
        limits,
        ..validator()
    };
    let check = |target: &str, name: &str, body: &'static str| {
        let req = Request::builder()
            .uri(target)
            .header(HOST, "a")
            .header(name, "0123456789");
        checked(&validator, &req.body(Full::<Bytes>::from(body)).unwrap())
    };
    assert!(check("/v2/captain/01234567", "x", "01234").is_ok());
    for (target, name, body, detail) in [
        (
            "/v2/captain/012345678",
            "x",
            "",
            "path and query are longer than 20B (limits.max_target_bytes)",
        ),
        (
            "/v2/captain/x",
            &*"x".repeat(50),
            "",
            "the header fields are larger than 60B (limits.max_header_bytes)",
        ),
        (
            "/v2/captain/x",
            "x",
            "012345",
            "the request body is larger than 5B (limits.max_request_body)",
        ),
    ] {
        let error = check(target, name, body).unwrap_err();
        assert_eq!(error.to_string(), detail);
    }
    let mut many = request("/v2/captain/x");
    for name in ["a", "b", "c"] {
        many.headers_mut()
            .insert(name, HeaderValue::from_static(""));
    }
    let error = checked(&validator, &many).unwrap_err().to_string();
    assert!(error.starts_with("there are more than 3 header fields"));
}
