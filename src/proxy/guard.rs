//! What is forwarded at all: methods and paths, by their exact bytes, and requests that can be read in one way only.

use std::sync::Arc;

use futures_util::future::{Either, ready};
use http::header::{CONTENT_LENGTH, HOST, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use http::{Method, Request, Version};
use hyper::body::Body;
use tower::layer::{Layer, layer_fn};
use tower::service_fn;

use super::{Step, request_id};
use crate::config::{Config, Limits, Prefix};
use crate::error::Error;

/// What may pass.
#[derive(Debug)]
pub(super) struct Rules {
    allow: Vec<Prefix>,
    limits: Limits,
}

impl Rules {
    pub(super) fn new(config: &Config) -> Self {
        Rules { allow: config.upstream.allow.clone(), limits: config.limits.clone() }
    }

    fn check<B: Body>(&self, req: &Request<B>) -> Result<(), Error> {
        if matches!(*req.method(), Method::CONNECT | Method::TRACE) {
            return Err(Error::MethodNotAllowed);
        }
        let head = Head::of(req.headers());
        self.check_size(req, &head)?;
        head.check_transfer_encoding()?;
        check_values(req)?;
        head.check_authority(req)?;
        let path = req.uri().path();
        if path == "*" {
            // Asterisk-form asks about the server as a whole (RFC 9112 section 3.2.4).
            return match *req.method() {
                Method::OPTIONS => Ok(()),
                _ => Err(Error::BadRequest("only OPTIONS may ask for *")),
            };
        }
        if path.is_empty() {
            // Authority-form, which is for CONNECT alone (RFC 9112 section 3.2.3).
            return Err(Error::BadRequest("the target has no path"));
        }
        check_path(path)?;
        if self.allow.iter().any(|prefix| path.starts_with(prefix.as_str())) {
            Ok(())
        } else {
            Err(Error::PathUnknown)
        }
    }

    fn check_size<B: Body>(&self, req: &Request<B>, head: &Head<'_>) -> Result<(), Error> {
        let target = req.uri().path_and_query().map_or(0, |target| target.as_str().len());
        if target as u64 > self.limits.target {
            return Err(Error::TargetTooLong);
        }
        if head.count > self.limits.header_fields || head.length as u64 > self.limits.header_block {
            return Err(Error::HeaderTooLarge);
        }
        if req.body().size_hint().lower() > self.limits.request_body {
            return Err(Error::BodyTooLarge);
        }
        Ok(())
    }
}

/// Lets pass what the rules allow.
pub(super) fn layer<S, In, Out>(
    rules: Arc<super::Rules>,
) -> impl Layer<S, Service = impl Step<In, Out> + use<S, In, Out>> + Clone
where
    S: Step<In, Out>,
    In: Body + Send + 'static,
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
            }
        }
        head
    }

    /// Nothing but one `chunked`: the parser also takes codings before it, whose payload would go on without their name
    /// (RFC 9112 section 6.1).
    fn check_transfer_encoding(&self) -> Result<(), Error> {
        match (self.coding, self.codings) {
            (None, _) => Ok(()),
            (Some(coding), 1) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
            _ => Err(Error::BadRequest("the Transfer-Encoding is another than chunked")),
        }
    }

    /// One authority, in one place or the same in two, and of the form that it must have (RFC 9112 section 3.2, RFC 9113
    /// section 8.3.1). HTTP/1.0 may name none.
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
                if !host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()) =>
            {
                Err(Error::BadRequest("the :authority and the Host field differ"))
            }
            _ => Ok(()),
        }
    }
}

/// What the parser of HTTP/1 sees to: no white space around a value (RFC 9113 section 8.2.1), and one length, however often
/// it is told (RFC 9110 section 8.6).
fn check_values<B>(req: &Request<B>) -> Result<(), Error> {
    if req.version() != Version::HTTP_2 {
        return Ok(());
    }
    if req.headers().values().any(|value| value.as_bytes().trim_ascii().len() < value.len()) {
        return Err(Error::BadRequest("a field has white space around its value"));
    }
    let mut lengths = req.headers().get_all(CONTENT_LENGTH).iter();
    let first = lengths.next();
    match lengths.all(|other| Some(other) == first) {
        true => Ok(()),
        false => Err(Error::BadRequest("there is more than one Content-Length")),
    }
}

/// `host [":" port]`, the host not empty and without user (RFC 9110 sections 4.2.1 to 4.2.4 and 7.2).
fn is_host(text: &[u8]) -> bool {
    let (host, port) = match text {
        [b'[', rest @ ..] => {
            let Some(end) = rest.iter().position(|&byte| byte == b']') else { return false };
            let is_address = rest[..end].iter().all(|byte| byte.is_ascii_hexdigit() || b":.".contains(byte));
            if !is_address {
                return false;
            }
            (&rest[..end], &rest[end + 1..])
        }
        _ => text.split_at(text.iter().position(|&byte| byte == b':').unwrap_or(text.len())),
    };
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:".contains(byte);
    let is_port = match port {
        [] => true,
        [b':', digits @ ..] => digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    !host.is_empty() && host.iter().all(is_name) && is_port
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
            b'\\' | 0..=b' ' | 0x7F.. => true,
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
mod tests;
