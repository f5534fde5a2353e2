//! Which fields pass: neither those of one hop (RFC 9110 section 7.6.1), nor what a caller may be
//! known by.
//!
//! Authorization is the matter of `authorize`.

mod trusted;

use std::net::IpAddr;
use std::sync::Arc;

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
    COOKIE, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue, MAX_FORWARDS, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, VIA,
    WWW_AUTHENTICATE,
};
use http::{Method, Request, Response, StatusCode, Version};

use self::trusted::{Trusted, trusted};
use super::{Peer, request_id};
use crate::config;
use crate::headers::via;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROXY_AUTHENTICATION_INFO: HeaderName = HeaderName::from_static("proxy-authentication-info");
const SOURCE: HeaderName = HeaderName::from_static("x-gbg-source");

/// What a caller may send along, and what we add.
#[derive(Debug)]
pub(super) struct Rules {
    forward_cookies: bool,
    send_forwarded: bool,
    source: Option<HeaderValue>,
}

impl Rules {
    pub(super) fn new(config: &config::Forward) -> Self {
        Rules {
            forward_cookies: config.forward_cookies,
            send_forwarded: config.send_forwarded,
            source: config.source.clone(),
        }
    }

    fn clean<B>(&self, req: &mut Request<B>, peer: &Peer) {
        let version = req.version();
        let is_options = *req.method() == Method::OPTIONS;
        let headers = req.headers_mut();
        let unwanted = find(headers, |name| {
            is_hop_by_hop(name)
                || in_either_spelling(name, |name| self.is_callers(name))
                || is_misspelt(name)
        });
        let wants_trailers = unwanted.contains(&TE) && takes_trailers(headers);
        remove(headers, unwanted);
        if wants_trailers {
            // For the next hop, which is told that it is (RFC 9110 section 10.1.4).
            headers.insert(TE, HeaderValue::from_static("trailers"));
            headers.insert(CONNECTION, HeaderValue::from_static("te"));
        }
        if version == Version::HTTP_2
            && let Some(length) = headers.get(CONTENT_LENGTH).cloned()
        {
            // Once, however often it came.
            headers.insert(CONTENT_LENGTH, length);
        }
        if is_options {
            count_forward(headers);
        }
        if self.forward_cookies && version == Version::HTTP_2 {
            join_cookies(headers);
        }
        if self.send_forwarded {
            append_forwarded(headers, peer);
        }
        if let Some(source) = &self.source
            && !headers.contains_key(SOURCE)
        {
            headers.insert(SOURCE, source.clone());
        }
        headers.append(VIA, via::header_value(version));
    }

    /// What is between the caller and us: what it is known by, the addresses of a network that is
    /// nobody's business, and what is for us alone to say.
    fn is_callers(&self, name: &HeaderName) -> bool {
        *name == PROXY_AUTHORIZATION
            || *name == X_API_KEY
            || *name == TE
            || *name == request_id::FIELD
            || (*name == COOKIE && !self.forward_cookies)
            || trusted(name.as_str())
                .is_some_and(|kind| kind == Trusted::Override || !self.send_forwarded)
    }
}

/// Cleans a request of `peer` on its way to the API.
pub fn request<B>(
    rules: Arc<super::Rules>,
    peer: Arc<Peer>,
) -> impl Fn(Request<B>) -> Request<B> + Clone {
    move |mut req| {
        rules.headers.clean(&mut req, &peer);
        req
    }
}

/// Cleans an answer on its way to the caller.
pub fn response<B>(mut res: Response<B>) -> Response<B> {
    // The version of a message is that of its sender (RFC 9112 section 2.3). A caller of HTTP/1.0
    // is the server's matter.
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
        // It has no length, not even that of a body that was not asked for (RFC 9110 section 8.6).
        res.headers_mut().remove(CONTENT_LENGTH);
    }
    res
}

/// Takes out of a trailer section what must not be in one: framing, routing and credentials (RFC
/// 9110 section 6.5.1).
pub(super) fn trailers(mut trailers: HeaderMap) -> HeaderMap {
    let must_not = |name: &HeaderName| {
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
    let unwanted = find(&trailers, |name| in_either_spelling(name, must_not));
    remove(&mut trailers, unwanted);
    trailers
}

/// Whether `holds` for `name`, or for what it is to a server that takes an underscore for a hyphen.
fn in_either_spelling(name: &HeaderName, holds: impl Fn(&HeaderName) -> bool) -> bool {
    let hyphened = || HeaderName::try_from(name.as_str().replace('_', "-"));
    holds(name) || (name.as_str().contains('_') && hyphened().is_ok_and(|name| holds(&name)))
}

/// Whether `name` is one of a hop or of the framing to a server that takes an underscore for a
/// hyphen, and to none else: nobody on the way has read it as that.
fn is_misspelt(name: &HeaderName) -> bool {
    name.as_str().contains('_')
        && in_either_spelling(name, |name| is_hop_by_hop(name) || *name == CONTENT_LENGTH)
}

/// Whether whoever sent these takes trailers in the answer (RFC 9110 section 10.1.4).
fn takes_trailers(headers: &HeaderMap) -> bool {
    members(headers, TE).any(|member| member.eq_ignore_ascii_case(b"trailers"))
}

/// Says who called us, after what the caller says of others (RFC 7239).
fn append_forwarded(headers: &mut HeaderMap, peer: &Peer) {
    let ip = peer.addr.map(|addr| addr.ip().to_canonical());
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

/// Counts this hop of an OPTIONS (RFC 9110 section 7.6.2).
fn count_forward(headers: &mut HeaderMap) {
    let left = headers
        .get(MAX_FORWARDS)
        .and_then(|left| left.to_str().ok()?.parse::<u32>().ok());
    if let Some(left) = left {
        headers.insert(MAX_FORWARDS, HeaderValue::from(left.saturating_sub(1)));
    }
}

/// HTTP/2 may split a Cookie; HTTP/1 has one (RFC 9113 section 8.2.3).
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

/// Fields of one hop that Connection need not name.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    *name == CONNECTION
        || *name == TRANSFER_ENCODING
        || *name == UPGRADE
        || *name == KEEP_ALIVE
        || *name == PROXY_CONNECTION
}

/// The names that are `unwanted`. A look at each field that came costs a fraction of a search for
/// each name that might.
fn find(headers: &HeaderMap, unwanted: impl Fn(&HeaderName) -> bool) -> Vec<HeaderName> {
    headers
        .keys()
        .filter(|name| unwanted(name))
        .cloned()
        .collect()
}

/// Removes the fields `unwanted`, and where Connection is one of them, those that it names: it is
/// the sender's list of what is meant for us alone.
fn remove(headers: &mut HeaderMap, unwanted: Vec<HeaderName>) {
    let named: Vec<HeaderName> = match unwanted.contains(&CONNECTION) {
        true => members(headers, CONNECTION)
            .filter_map(|name| HeaderName::from_bytes(name).ok())
            .collect(),
        false => Vec::new(),
    };
    for name in named.into_iter().chain(unwanted) {
        headers.remove(name);
    }
}

/// The members of a field that is a list (RFC 9110 section 5.6.1).
fn members(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &[u8]> {
    let lists = headers.get_all(name).into_iter();
    lists
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests;
