//! Field policy: removes hop-by-hop fields (RFC 9110 section 7.6.1) first, the caller's credentials
//! and claims second, and adds the proxy's own. `authorize` replaces Authorization.

mod trusted;

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
    COOKIE, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue, MAX_FORWARDS, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, VIA,
    WWW_AUTHENTICATE,
};
use http::{Method, Request, Response, StatusCode, Version};
use http_body::Frame;

use self::trusted::{Trusted, trusted};
use super::connection::ConnectionIdentity;
use super::request_id;
use crate::config;
use crate::headers::{in_either_spelling, via};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROXY_AUTHENTICATION_INFO: HeaderName = HeaderName::from_static("proxy-authentication-info");
const SOURCE: HeaderName = HeaderName::from_static("x-gbg-source");

/// Rules for the fields that pass, and the fields that the proxy adds.
#[derive(Debug)]
pub struct HeaderPolicy {
    forward_cookies: bool,
    send_forwarded: bool,
    source: Option<HeaderValue>,
}

impl HeaderPolicy {
    pub(super) fn new(config: &config::ForwardConfig) -> Self {
        HeaderPolicy {
            forward_cookies: config.forward_cookies,
            send_forwarded: config.send_forwarded,
            source: config.source.clone(),
        }
    }

    fn clean<B>(&self, req: &mut Request<B>, connection: &ConnectionIdentity) {
        let version = req.version();
        let is_options = *req.method() == Method::OPTIONS;
        let headers = req.headers_mut();
        let unwanted = find(headers, |name| {
            is_hop_by_hop(name)
                || in_either_spelling(name, |name| self.ends_here(name))
                || is_misspelt(name)
        });
        let wants_trailers = unwanted.contains(&TE) && takes_trailers(headers);
        remove(headers, unwanted);
        if wants_trailers {
            // TE is a field of one hop, which Connection has to name (RFC 9110 section 10.1.4).
            headers.insert(TE, HeaderValue::from_static("trailers"));
            headers.insert(CONNECTION, HeaderValue::from_static("te"));
        }
        if version == Version::HTTP_2
            && let Some(length) = headers.get(CONTENT_LENGTH).cloned()
        {
            // One field, however many came.
            headers.insert(CONTENT_LENGTH, length);
        }
        if is_options {
            decrement_max_forwards(headers);
        }
        if self.forward_cookies && version == Version::HTTP_2 {
            join_cookies(headers);
        }
        if self.send_forwarded {
            append_forwarded(headers, connection);
        }
        if let Some(source) = &self.source
            && !headers.contains_key(SOURCE)
        {
            headers.insert(SOURCE, source.clone());
        }
        headers.append(VIA, via::header_value(version));
    }

    /// Whether a field ends at the proxy: the caller's credentials, the addresses of its network, and
    /// claims that only the proxy may make.
    fn ends_here(&self, name: &HeaderName) -> bool {
        *name == PROXY_AUTHORIZATION
            || *name == X_API_KEY
            || *name == TE
            || *name == request_id::FIELD
            || (*name == COOKIE && !self.forward_cookies)
            || trusted(name.as_str())
                .is_some_and(|kind| kind == Trusted::Override || !self.send_forwarded)
    }
}

/// Cleans the requests of `connection` on their way to the API.
pub fn request<B>(
    policy: Arc<HeaderPolicy>,
    connection: Arc<ConnectionIdentity>,
) -> impl Fn(Request<B>) -> Request<B> + Clone {
    move |mut req| {
        policy.clean(&mut req, &connection);
        req
    }
}

/// Cleans a response on its way to the caller.
pub fn response<B>(mut res: Response<B>) -> Response<B> {
    // A message has the version of its sender (RFC 9112 section 2.3); the server sees to callers of
    // HTTP/1.0.
    *res.version_mut() = Version::HTTP_11;
    let headers = res.headers_mut();
    let unwanted = find(headers, |name| {
        is_hop_by_hop(name)
            || *name == TE
            || *name == PROXY_AUTHENTICATE
            || *name == PROXY_AUTHENTICATION_INFO
    });
    remove(headers, unwanted);
    if res.status() == StatusCode::NO_CONTENT {
        // Such a response has no length (RFC 9110 section 8.6).
        res.headers_mut().remove(CONTENT_LENGTH);
    }
    res
}

/// Removes from a trailer section what must not be in one: framing, routing and credentials (RFC
/// 9110 section 6.5.1).
pub(super) fn clean_trailers(frame: Frame<Bytes>) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(trailers) => Frame::trailers(without_forbidden(trailers)),
        Err(frame) => frame,
    }
}

fn without_forbidden(mut trailers: HeaderMap) -> HeaderMap {
    let is_forbidden = |name: &HeaderName| {
        is_hop_by_hop(name)
            || trusted(name.as_str()).is_some()
            || [
                AUTHORIZATION,
                CONTENT_ENCODING,
                CONTENT_LENGTH,
                CONTENT_RANGE,
                CONTENT_TYPE,
                COOKIE,
                HOST,
                MAX_FORWARDS,
                PROXY_AUTHENTICATE,
                PROXY_AUTHORIZATION,
                SET_COOKIE,
                TE,
                TRAILER,
                VIA,
                WWW_AUTHENTICATE,
                X_API_KEY,
            ]
            .contains(name)
    };
    let unwanted = find(&trailers, |name| in_either_spelling(name, is_forbidden));
    remove(&mut trailers, unwanted);
    trailers
}

/// Whether only a server that takes an underscore for a hyphen reads `name` as a hop-by-hop or
/// framing field: no hop before it has acted on it.
fn is_misspelt(name: &HeaderName) -> bool {
    name.as_str().contains('_')
        && in_either_spelling(name, |name| is_hop_by_hop(name) || *name == CONTENT_LENGTH)
}

/// Whether the sender accepts trailers in the response (RFC 9110 section 10.1.4).
fn takes_trailers(headers: &HeaderMap) -> bool {
    members(headers, TE).any(|member| member.eq_ignore_ascii_case(b"trailers"))
}

/// Appends the address of the caller to those that it forwards (RFC 7239).
fn append_forwarded(headers: &mut HeaderMap, connection: &ConnectionIdentity) {
    let ip = connection.addr.map(|addr| addr.ip().to_canonical());
    let node = match ip {
        Some(ip @ IpAddr::V4(_)) => format!("for={ip}"),
        Some(ip @ IpAddr::V6(_)) => format!("for=\"[{ip}]\""),
        None => "for=unknown".to_owned(),
    };
    for (name, text) in [
        (FORWARDED, Some(node)),
        (X_FORWARDED_FOR, ip.map(|ip| ip.to_string())),
    ] {
        if let Some(value) = text.and_then(|text| HeaderValue::try_from(text).ok()) {
            headers.append(name, value);
        }
    }
}

/// Decrements Max-Forwards of an OPTIONS (RFC 9110 section 7.6.2).
fn decrement_max_forwards(headers: &mut HeaderMap) {
    let left = headers
        .get(MAX_FORWARDS)
        .and_then(|left| left.to_str().ok()?.parse::<u32>().ok());
    if let Some(left) = left {
        headers.insert(MAX_FORWARDS, HeaderValue::from(left.saturating_sub(1)));
    }
}

/// Joins the Cookie fields that HTTP/2 may split (RFC 9113 section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let crumbs: Vec<_> = headers
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if crumbs.len() > 1
        && let Ok(whole) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
    {
        headers.insert(COOKIE, whole);
    }
}

/// Whether `name` is a hop-by-hop field even if Connection does not name it.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    *name == CONNECTION
        || *name == TRANSFER_ENCODING
        || *name == UPGRADE
        || *name == KEEP_ALIVE
        || *name == PROXY_CONNECTION
}

/// The names that are `unwanted`. One pass over the fields costs a fraction of a lookup of each
/// name.
fn find(headers: &HeaderMap, unwanted: impl Fn(&HeaderName) -> bool) -> Vec<HeaderName> {
    headers
        .keys()
        .filter(|name| unwanted(name))
        .cloned()
        .collect()
}

/// Removes the fields `unwanted`, and those that Connection names if it is one of them.
fn remove(headers: &mut HeaderMap, unwanted: Vec<HeaderName>) {
    let named: Vec<HeaderName> = if unwanted.contains(&CONNECTION) {
        members(headers, CONNECTION)
            .filter_map(|name| HeaderName::from_bytes(name).ok())
            .collect()
    } else {
        Vec::new()
    };
    for name in named.into_iter().chain(unwanted) {
        headers.remove(name);
    }
}

/// The members of a list field (RFC 9110 section 5.6.1).
fn members(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &[u8]> {
    let lists = headers.get_all(name).into_iter();
    lists
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests;
