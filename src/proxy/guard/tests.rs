//! What passes the guard, and what does not.

use bytes::Bytes;
use http_body_util::{Empty, Full};

use super::*;

type NoBody = Empty<Bytes>;

fn rules() -> Rules {
    let mut config = crate::proxy::tests::config();
    config.listen.hosts = ["a".to_owned(), "b".to_owned()].into();
    Rules::new(&config)
}

fn checked<B: Body>(rules: &Rules, req: &Request<B>) -> Result<Option<Response<()>>, Error> {
    let local = ([127, 0, 0, 1], 8080).into();
    rules.check(req, &Peer { addr: Some(local), local: Some(local), known: None })
}

fn request(target: &str) -> Request<NoBody> {
    Request::builder().uri(target).header(HOST, "localhost").body(NoBody::new()).unwrap()
}

#[test]
fn only_paths_below_a_prefix_pass() {
    for good in ["/v2/captain/journey/start", "/captain/api/journey/start?a=%2e%2e", "/v2/captain/"] {
        assert!(checked(&rules(), &request(good)).is_ok(), "{good}");
    }
    for bad in ["/", "/v2/captain", "/V2/captain/x", "/designer/api", "/x/v2/captain/", "/v2/captainx/"] {
        assert!(matches!(checked(&rules(), &request(bad)), Err(Error::PathUnknown)), "{bad}");
    }
}

#[test]
fn a_path_that_can_be_read_in_two_ways_is_refused() {
    let bad = [
        "/v2/captain/../designer",
        "/v2/captain/..",
        "/v2/captain/..;/x",
        "/v2/captain/.;a=1/x",
        "/v2/captain/..%3bx/x",
        "/v2/captain/./x",
        "/v2/captain/.",
        "/v2/captain//x",
        "/v2/captain/%2e%2E/x",
        "/v2/captain/.%2e/x",
        "/v2/captain/a%2fb",
        "/v2/captain/a%5cb",
        "/v2/captain/a\\b",
        "/v2/captain/\u{e9}",
        "/v2/captain/a%00",
        "/v2/captain/a%252e",
        "/v2/captain/a%",
        "/v2/captain/a%zz",
    ];
    for path in bad {
        assert!(matches!(check_path(path), Err(Error::BadRequest(_))), "{path}");
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
fn methods_that_are_not_for_an_api_are_refused() {
    for method in [Method::TRACE, Method::CONNECT] {
        let mut req = request("/v2/captain/x");
        *req.method_mut() = method;
        assert!(matches!(checked(&rules(), &req), Err(Error::MethodNotAllowed { .. })));
    }
    let mut req = request("*");
    assert!(matches!(checked(&rules(), &req), Err(Error::BadRequest(_))));
    *req.method_mut() = Method::OPTIONS;
    assert!(checked(&rules(), &req).is_ok());
}

#[test]
fn an_options_goes_no_further_where_its_count_is_zero_and_not_where_it_has_none() {
    for (left, is_last) in
        [("0", true), ("00", true), ("1", false), ("10", false), ("", false), ("-0", false)]
    {
        let mut req = request("/v2/captain/x");
        *req.method_mut() = Method::OPTIONS;
        req.headers_mut().insert(MAX_FORWARDS, left.parse().unwrap());
        assert_eq!(checked(&rules(), &req).unwrap().is_some(), is_last, "{left:?}");
    }
}

#[test]
fn there_is_one_host_and_it_is_one() {
    for good in ["a", "a:80", "a:", "EU.example", "[::1]", "[::1]:8080", "a_b.c-d", "127.0.0.1:1"] {
        assert!(is_host(good.as_bytes()), "{good}");
    }
    for bad in
        ["", ":80", "a b", "a/b", "u@a", "a:b", "a:80:90", "[::1", "[::1]x", "[x]", "a?b", "a#b", "a\\b", "é"]
    {
        assert!(!is_host(bad.as_bytes()), "{bad}");
    }
    let refused = |req: &Request<NoBody>| matches!(checked(&rules(), req), Err(Error::BadRequest(_)));
    let mut req = request("/v2/captain/x");
    req.headers_mut().append(HOST, "other".parse().unwrap());
    assert!(refused(&req));
    req.headers_mut().remove(HOST);
    assert!(refused(&req));
    *req.version_mut() = Version::HTTP_10;
    assert!(checked(&rules(), &req).is_ok());
    assert!(refused(&request("http://u:p@localhost/v2/captain/x")));
}

#[test]
fn an_http2_request_names_its_authority_once_or_twice_the_same() {
    let check = |target: &str, host: Option<&str>| {
        let mut req = Request::builder().uri(target).version(Version::HTTP_2);
        if let Some(host) = host {
            req = req.header(HOST, host);
        }
        checked(&rules(), &req.body(NoBody::new()).unwrap())
    };
    assert!(check("http://a/v2/captain/x", None).is_ok());
    assert!(check("http://a/v2/captain/x", Some("A")).is_ok());
    assert!(check("/v2/captain/x", Some("a")).is_ok());
    assert!(check("http://a/v2/captain/x", Some("b")).is_err());
    assert!(check("/v2/captain/x", None).is_err());
    for (target, host) in
        [("http://evil.example/v2/captain/x", None), ("/v2/captain/x", Some("evil.example"))]
    {
        assert!(matches!(check(target, host), Err(Error::HostNotAllowed)), "{target}");
    }
}

#[test]
fn an_http2_request_has_one_length_and_no_white_space_around_values() {
    let check = |fields: &[(&str, &str)]| {
        let mut req = Request::builder().uri("http://a/v2/captain/x").version(Version::HTTP_2);
        for (name, value) in fields {
            req = req.header(*name, *value);
        }
        checked(&rules(), &req.body(NoBody::new()).unwrap())
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
        Head::of(&headers).check_transfer_encoding()
    };
    assert!(check(&[]).is_ok());
    assert!(check(&["Chunked"]).is_ok());
    for bad in [&["gzip, chunked"][..], &["chunked", "chunked"], &["chunked, chunked"], &["identity"], &[""]]
    {
        assert!(check(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn what_is_larger_than_the_limits_is_refused_and_what_is_as_large_is_not() {
    let limits =
        Limits { target: 20, header_fields: 3, header_block: 60, request_body: 5, ..Limits::default() };
    let rules = Rules { limits, ..rules() };
    let check = |target: &str, name: &str, body: &'static str| {
        let req = Request::builder().uri(target).header(HOST, "a").header(name, "0123456789");
        checked(&rules, &req.body(Full::<Bytes>::from(body)).unwrap())
    };
    assert!(check("/v2/captain/01234567", "x", "01234").is_ok());
    assert!(matches!(check("/v2/captain/012345678", "x", ""), Err(Error::TargetTooLong)));
    assert!(matches!(check("/v2/captain/x", &"x".repeat(50), ""), Err(Error::HeaderTooLarge)));
    assert!(matches!(check("/v2/captain/x", "x", "012345"), Err(Error::BodyTooLarge)));
    let many = Request::builder().uri("/v2/captain/x").header(HOST, "a");
    let many = many.header("a", "").header("a", "").header("b", "").body(NoBody::new()).unwrap();
    assert!(matches!(checked(&rules, &many), Err(Error::HeaderTooLarge)));
}
