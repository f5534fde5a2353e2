//! Which fields pass: neither those of one hop (RFC 9110 section 7.6.1), nor what a caller may be known by.
//!
//! Authorization is the matter of `authorize`.

use std::sync::Arc;

use http::header::{
    CONNECTION, COOKIE, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHORIZATION, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::{Request, Response, Version};

use super::request_id;
use crate::config;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// What a caller may send along.
#[derive(Debug)]
pub(super) struct Rules {
    forward_cookies: bool,
}

impl Rules {
    pub(super) fn new(config: &config::Upstream) -> Self {
        Rules { forward_cookies: config.forward_cookies }
    }

    fn clean<B>(&self, req: &mut Request<B>) {
        let via = via(req.version());
        let headers = req.headers_mut();
        remove_named_by_connection(headers);
        remove(headers, |name| is_hop_by_hop(name) || self.is_callers(name));
        headers.append(VIA, via);
    }

    /// What is between the caller and us. Trailers are not passed on: they would bring these fields in by the back door.
    fn is_callers(&self, name: &HeaderName) -> bool {
        *name == PROXY_AUTHORIZATION
            || *name == X_API_KEY
            || *name == TE
            || *name == TRAILER
            || *name == request_id::FIELD
            || (*name == COOKIE && !self.forward_cookies)
    }
}

/// Cleans a request on its way to the API.
pub(super) fn request<B>(rules: Arc<super::Rules>) -> impl Fn(Request<B>) -> Request<B> + Clone {
    move |mut req| {
        rules.headers.clean(&mut req);
        req
    }
}

/// Cleans an answer on its way to the caller.
pub(super) fn response<B>(mut res: Response<B>) -> Response<B> {
    remove_named_by_connection(res.headers_mut());
    remove(res.headers_mut(), is_hop_by_hop);
    res
}

/// The Connection field is the sender's list of what is meant for us alone.
fn remove_named_by_connection(headers: &mut HeaderMap) {
    if !headers.contains_key(CONNECTION) {
        return;
    }
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
}

/// Fields of one hop that Connection need not name.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    *name == CONNECTION
        || *name == TRANSFER_ENCODING
        || *name == UPGRADE
        || *name == KEEP_ALIVE
        || *name == PROXY_CONNECTION
}

/// Removes what is `unwanted`. A look at each field that came costs a fraction of a search for each name that might.
fn remove(headers: &mut HeaderMap, unwanted: impl Fn(&HeaderName) -> bool) {
    let found: Vec<HeaderName> = headers.keys().filter(|name| unwanted(name)).cloned().collect();
    for name in found {
        headers.remove(name);
    }
}

/// How we name ourselves and what we received (RFC 9110 section 7.6.3).
fn via(version: Version) -> HeaderValue {
    HeaderValue::from_static(match version {
        Version::HTTP_2 => "2 gbg-proxy",
        Version::HTTP_10 => "1.0 gbg-proxy",
        _ => "1.1 gbg-proxy",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(fields: &[(&str, &str)]) -> Vec<String> {
        let rules = Rules { forward_cookies: false };
        let mut req = Request::builder();
        for (name, value) in fields {
            req = req.header(*name, *value);
        }
        let mut req = req.body(()).unwrap();
        rules.clean(&mut req);
        req.headers().iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect()
    }

    #[test]
    fn fields_of_one_hop_and_credentials_stay_here() {
        let left = cleaned(&[
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
        ]);
        assert_eq!(left, ["accept: */*", "x-gbg-source: us", "via: 1.1 gbg-proxy"]);
    }
}
