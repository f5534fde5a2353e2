//! What is forwarded at all: methods and paths, by their exact bytes.

use std::sync::Arc;

use futures_util::future::{Either, ready};
use http::header::HOST;
use http::{Method, Request, Version};
use tower::layer::{Layer, layer_fn};
use tower::service_fn;

use super::Step;
use crate::config::{self, Prefix};
use crate::error::Error;

/// What may pass.
#[derive(Debug)]
pub(super) struct Rules {
    allow: Vec<Prefix>,
}

impl Rules {
    pub(super) fn new(config: &config::Upstream) -> Self {
        Rules { allow: config.allow.clone() }
    }

    fn check<B>(&self, req: &Request<B>) -> Result<(), Error> {
        if matches!(*req.method(), Method::CONNECT | Method::TRACE) {
            return Err(Error::MethodNotAllowed);
        }
        check_host(req)?;
        let path = req.uri().path();
        check_path(path)?;
        if self.allow.iter().any(|prefix| path.starts_with(prefix.as_str())) {
            Ok(())
        } else {
            Err(Error::PathUnknown)
        }
    }
}

/// Lets pass what the rules allow.
pub(super) fn layer<S, In, Out>(
    rules: Arc<super::Rules>,
) -> impl Layer<S, Service = impl Step<In, Out> + use<S, In, Out>> + Clone
where
    S: Step<In, Out>,
    In: Send + 'static,
    Out: Send + 'static,
{
    layer_fn(move |mut inner: S| {
        let rules = Arc::clone(&rules);
        service_fn(move |req: Request<In>| match rules.guard.check(&req) {
            Ok(()) => Either::Left(inner.call(req)),
            Err(error) => Either::Right(ready(Err(error))),
        })
    })
}

/// Exactly one Host with HTTP/1.1, at most one before (RFC 9112 section 3.2). HTTP/2 has `:authority`.
fn check_host<B>(req: &Request<B>) -> Result<(), Error> {
    let hosts = req.headers().get_all(HOST).iter().count();
    match req.version() {
        Version::HTTP_11 if hosts == 0 => Err(Error::BadRequest("the Host field is missing")),
        _ if hosts > 1 => Err(Error::BadRequest("there is more than one Host field")),
        _ => Ok(()),
    }
}

/// Refuses what a server may read as another path than the one that was matched: dot segments, empty segments,
/// backslashes, and their percent-encoded forms.
fn check_path(path: &str) -> Result<(), Error> {
    const AMBIGUOUS: Result<(), Error> =
        Err(Error::BadRequest("the path has empty or dot segments, backslashes, or encoded forms of these"));
    let mut previous = 0;
    for (index, &byte) in path.as_bytes().iter().enumerate() {
        let rest = &path.as_bytes()[index + 1..];
        let refused = match byte {
            b'\\' | 0..=b' ' | 0x7F => true,
            b'/' => previous == b'/',
            b'.' => previous == b'/' && ends_dot_segment(rest),
            b'%' => encodes_special(rest),
            _ => false,
        };
        if refused {
            return AMBIGUOUS;
        }
        previous = byte;
    }
    Ok(())
}

/// Whether a segment that begins with a dot, and goes on with `rest`, is `.` or `..`. Some servers take parameters
/// (`;…`) off before they look.
fn ends_dot_segment(rest: &[u8]) -> bool {
    matches!(rest, [] | [b'/' | b';', ..] | [b'.'] | [b'.', b'/' | b';', ..])
}

/// Whether the two hexadecimal digits that `rest` begins with are those of a dot, a slash, a backslash, a semicolon, a
/// percent sign or a control character, or are none.
fn encodes_special(rest: &[u8]) -> bool {
    let digit = |index: usize| rest.get(index).and_then(|&byte| char::from(byte).to_digit(16));
    match (digit(0), digit(1)) {
        (Some(high), Some(low)) => {
            matches!(high * 16 + low, 0..=0x1F | 0x7F | 0x25 | 0x2E | 0x2F | 0x3B | 0x5C)
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        let prefix = |text: &str| Prefix::try_from(text.to_owned()).unwrap();
        Rules { allow: vec![prefix("/v2/captain/"), prefix("/captain/api/")] }
    }

    fn request(target: &str) -> Request<()> {
        Request::builder().uri(target).header(HOST, "localhost").body(()).unwrap()
    }

    #[test]
    fn only_paths_below_a_prefix_pass() {
        for good in ["/v2/captain/journey/start", "/captain/api/journey/start?a=%2e%2e", "/v2/captain/"] {
            assert!(rules().check(&request(good)).is_ok(), "{good}");
        }
        for bad in ["/", "/v2/captain", "/V2/captain/x", "/designer/api", "/x/v2/captain/", "/v2/captainx/"] {
            assert!(matches!(rules().check(&request(bad)), Err(Error::PathUnknown)), "{bad}");
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
    fn methods_that_are_not_for_an_api_and_odd_hosts_are_refused() {
        let mut req = request("/v2/captain/x");
        *req.method_mut() = Method::TRACE;
        assert!(matches!(rules().check(&req), Err(Error::MethodNotAllowed)));
        let mut req = request("/v2/captain/x");
        req.headers_mut().append(HOST, "other".parse().unwrap());
        assert!(matches!(rules().check(&req), Err(Error::BadRequest(_))));
        req.headers_mut().remove(HOST);
        assert!(matches!(rules().check(&req), Err(Error::BadRequest(_))));
        *req.version_mut() = Version::HTTP_10;
        assert!(rules().check(&req).is_ok());
    }
}
