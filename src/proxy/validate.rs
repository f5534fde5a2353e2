//! What is forwarded at all: methods and paths, by their exact bytes, and requests that can be read
//! in one way only.

mod cross_site;
mod methods;
mod path;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{Either, ready};
use http::header::{
    CONTENT_LENGTH, HOST, HeaderMap, HeaderValue, MAX_FORWARDS, TRANSFER_ENCODING, VIA,
};
use http::{Method, Request, Response, Version};
use http_body_util::Full;
use hyper::body::Body;
use tower::layer::{Layer, layer_fn};
use tower::service_fn;

pub(super) use self::cross_site::{admit, origin};
pub(super) use self::methods::Methods;
use self::path::check_path;
use super::body::Answer;
use super::{Peer, Step, request_id};
use crate::config::{Config, Hosts, Limits, PathPrefix};
use crate::error::Error;
use crate::gbg;
use crate::headers::via;

/// What may pass.
#[derive(Debug)]
pub(super) struct Rules {
    allow: Vec<PathPrefix>,
    methods: Methods,
    hosts: Hosts,
    limits: Limits,
}

impl Rules {
    pub(super) fn new(config: &Config) -> Self {
        Rules {
            allow: config.forward.allow.clone(),
            methods: Methods::new(&config.forward.methods),
            hosts: config.hosts(),
            limits: config.limits.clone(),
        }
    }

    /// The origins of pages that may call.
    pub(super) fn origins(&self) -> &[HeaderValue] {
        &self.limits.origins
    }

    /// Lets `req` pass, or refuses it; some we answer ourselves.
    fn check<B: Body>(&self, req: &Request<B>, peer: &Peer) -> Result<Option<Response<()>>, Error> {
        peer.check_certificate()?;
        if matches!(*req.method(), Method::CONNECT | Method::TRACE) {
            return Err(self.methods.refusal());
        }
        let head = Head::of(req.headers());
        // First: what has been here lacks the caller's credentials, and would be refused for that.
        if head.is_loop {
            return Err(Error::LoopDetected);
        }
        self.check_size(req, &head)?;
        head.check_transfer_encoding()?;
        check_values(req)?;
        head.check_authority(req)?;
        self.check_hosts(req, &head, peer)?;
        if let Some(answer) =
            head.page
                .check(req, peer.is_tls, &self.limits.origins, &self.methods.list)?
        {
            return Ok(Some(answer));
        }
        let path = req.uri().path();
        if !gbg::is_login(path) {
            self.methods.check(req.method())?;
        }
        if path == "*" {
            // Asterisk-form asks about the server as a whole (RFC 9112 section 3.2.4).
            return match *req.method() {
                Method::OPTIONS => Ok(self.last_hop(req)),
                _ => Err(Error::BadRequest("only OPTIONS may ask for *")),
            };
        }
        if path.is_empty() {
            // Authority-form, which is for CONNECT alone (RFC 9112 section 3.2.3).
            return Err(Error::BadRequest("the target has no path"));
        }
        check_path(path)?;
        if self
            .allow
            .iter()
            .any(|prefix| path.starts_with(prefix.as_str()))
            || gbg::is_login(path)
        {
            Ok(self.last_hop(req))
        } else {
            Err(Error::PathUnknown)
        }
    }

    /// The answer to an OPTIONS that is to go no further than here (RFC 9110 section 7.6.2).
    fn last_hop<B>(&self, req: &Request<B>) -> Option<Response<()>> {
        let is_last = *req.method() == Method::OPTIONS
            && req.headers().get(MAX_FORWARDS).is_some_and(|left| {
                !left.is_empty() && left.as_bytes().iter().all(|&digit| digit == b'0')
            });
        is_last.then(|| {
            let mut res = Response::new(());
            res.headers_mut()
                .insert(http::header::ALLOW, self.methods.list.clone());
            res
        })
    }

    /// Each host that the request names is ours.
    fn check_hosts<B>(&self, req: &Request<B>, head: &Head<'_>, peer: &Peer) -> Result<(), Error> {
        let host = head.host.map(HeaderValue::as_bytes);
        let authority = req
            .uri()
            .authority()
            .map(|authority| authority.as_str().as_bytes());
        let is_ours =
            |host: Option<&[u8]>| host.is_none_or(|host| self.hosts.has(host, peer.local));
        match is_ours(host) && (authority == host || is_ours(authority)) {
            true => Ok(()),
            false => Err(Error::HostNotAllowed),
        }
    }

    fn check_size<B: Body>(&self, req: &Request<B>, head: &Head<'_>) -> Result<(), Error> {
        let target = req
            .uri()
            .path_and_query()
            .map_or(0, |target| target.as_str().len());
        if target as u64 > self.limits.max_target_bytes {
            return Err(Error::TargetTooLong);
        }
        if head.count > self.limits.max_header_fields
            || head.length as u64 > self.limits.max_header_bytes
        {
            return Err(Error::HeaderTooLarge);
        }
        if req.body().size_hint().lower() > self.limits.max_request_body {
            return Err(Error::BodyTooLarge);
        }
        Ok(())
    }
}

/// Lets pass what the rules allow of what `peer` sends.
pub fn layer<S, In, Out>(
    rules: Arc<super::Rules>,
    peer: Arc<Peer>,
) -> impl Layer<S, Service = impl Step<In, Answer<Out>> + use<S, In, Out>> + Clone
where
    S: Step<In, Answer<Out>>,
    In: Body + Send + 'static,
    Out: Send + 'static,
{
    layer_fn(move |mut inner: S| {
        let (rules, peer) = (Arc::clone(&rules), Arc::clone(&peer));
        service_fn(
            move |req: Request<In>| match rules.guard.check(&req, &peer) {
                Ok(None) => Either::Left(inner.call(req)),
                Ok(Some(answer)) => Either::Right(ready(Ok(
                    answer.map(|()| Answer::Ours(Full::<Bytes>::default()))
                ))),
                Err(error) => Either::Right(ready(Err(error))),
            },
        )
    })
}

/// What one look at each field finds; a search for each name would cost more.
#[derive(Default)]
struct Head<'a> {
    count: usize,
    /// All fields as they are written in HTTP/1: a colon, a space, and a line end for each.
    length: usize,
    /// The last Host, and how many there are.
    host: Option<&'a HeaderValue>,
    hosts: usize,
    /// The last Transfer-Encoding, and how many there are.
    coding: Option<&'a HeaderValue>,
    codings: usize,
    page: cross_site::Page<'a>,
    /// Whether a Via says that it has been here before.
    is_loop: bool,
}

impl<'a> Head<'a> {
    fn of(headers: &'a HeaderMap) -> Self {
        let mut head = Head::default();
        for (name, value) in headers {
            // It stands there by now, whether or not the caller sent one.
            if *name == request_id::FIELD {
                continue;
            }
            head.count += 1;
            head.length += name.as_str().len() + value.len() + 4;
            if *name == HOST {
                head.host = Some(value);
                head.hosts += 1;
            } else if *name == TRANSFER_ENCODING {
                head.coding = Some(value);
                head.codings += 1;
            } else if *name == VIA {
                head.is_loop |= via::names_this_process(value);
            } else {
                head.page.note(name, value);
            }
        }
        head
    }

    /// Nothing but one `chunked`: the parser also takes codings before it, whose payload would go
    /// on without their name (RFC 9112 section 6.1).
    fn check_transfer_encoding(&self) -> Result<(), Error> {
        match (self.coding, self.codings) {
            (None, _) => Ok(()),
            (Some(coding), 1) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
            _ => Err(Error::BadRequest(
                "the Transfer-Encoding is another than chunked",
            )),
        }
    }

    /// One authority, in one place or the same in two, and of the form that it must have (RFC 9112
    /// section 3.2, RFC 9113 section 8.3.1). HTTP/1.0 may name none.
    fn check_authority<B>(&self, req: &Request<B>) -> Result<(), Error> {
        if self.hosts > 1 {
            return Err(Error::BadRequest("there is more than one Host field"));
        }
        if self.host.is_some_and(|host| !is_host(host.as_bytes())) {
            return Err(Error::BadRequest("the Host field is no host"));
        }
        match (req.version(), self.host, req.uri().authority()) {
            (Version::HTTP_11, None, _) => Err(Error::BadRequest("the Host field is missing")),
            (Version::HTTP_2, None, None) => Err(Error::BadRequest("the :authority is missing")),
            (_, _, Some(authority)) if !is_host(authority.as_str().as_bytes()) => {
                Err(Error::BadRequest("the authority of the target is no host"))
            }
            (Version::HTTP_2, Some(host), Some(authority))
                if !host
                    .as_bytes()
                    .eq_ignore_ascii_case(authority.as_str().as_bytes()) =>
            {
                Err(Error::BadRequest(
                    "the :authority and the Host field differ",
                ))
            }
            _ => Ok(()),
        }
    }
}

/// What the parser of HTTP/1 sees to: no white space around a value (RFC 9113 section 8.2.1), and
/// one length, however often it is told (RFC 9110 section 8.6).
fn check_values<B>(req: &Request<B>) -> Result<(), Error> {
    if req.version() != Version::HTTP_2 {
        return Ok(());
    }
    if req
        .headers()
        .values()
        .any(|value| value.as_bytes().trim_ascii().len() < value.len())
    {
        return Err(Error::BadRequest(
            "a field has white space around its value",
        ));
    }
    let mut lengths = req.headers().get_all(CONTENT_LENGTH).iter();
    let first = lengths.next();
    match lengths.all(|other| Some(other) == first) {
        true => Ok(()),
        false => Err(Error::BadRequest("there is more than one Content-Length")),
    }
}

/// `host [":" port]`, the host not empty and without user (RFC 9110 sections 4.2.1 to 4.2.4 and
/// 7.2).
fn is_host(text: &[u8]) -> bool {
    let (host, port) = match text {
        [b'[', rest @ ..] => {
            let Some(end) = rest.iter().position(|&byte| byte == b']') else {
                return false;
            };
            let is_address = rest[..end]
                .iter()
                .all(|byte| byte.is_ascii_hexdigit() || b":.".contains(byte));
            if !is_address {
                return false;
            }
            (&rest[..end], &rest[end + 1..])
        }
        _ => text.split_at(
            text.iter()
                .position(|&byte| byte == b':')
                .unwrap_or(text.len()),
        ),
    };
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:".contains(byte);
    let is_port = match port {
        [] => true,
        [b':', digits @ ..] => digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    !host.is_empty() && host.iter().all(is_name) && is_port
}

#[cfg(test)]
mod tests;
