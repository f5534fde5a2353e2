//! Validation: rejects requests that two servers could interpret differently, and those whose host,
//! origin, method, path or size is not allowed.

pub(super) mod cross_site;
pub(super) mod methods;
mod path;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{Either, ready};
use http::header::{
    CONTENT_LENGTH, HOST, HeaderMap, HeaderValue, MAX_FORWARDS, TRANSFER_ENCODING, VIA,
};
use http::{Method, Request, Response, Version};
use http_body_util::{Either as EitherBody, Full};
use hyper::body::Body;
use tower::layer::{Layer, layer_fn};
use tower::service_fn;

use self::cross_site::RequestOrigin;
use self::methods::Methods;
use self::path::check_path;
use super::access_log::ResponseBody;
use super::connection::ConnectionIdentity;
use super::context::WithContext;
use super::replay::body_too_large;
use super::request_id;
use super::route::Route;
use super::step::Step;
use crate::config::{Config, Hosts, Limits, PathPrefix, Size, without_port};
use crate::error::Error;
use crate::headers::via;

/// Rules for requests that may pass.
#[derive(Debug)]
pub struct Validator {
    allow: Vec<PathPrefix>,
    methods: Methods,
    hosts: Hosts,
    limits: Limits,
    /// Origins of web pages that may call.
    origins: Arc<[HeaderValue]>,
}

impl Validator {
    pub(super) fn new(config: &Config, origins: Arc<[HeaderValue]>) -> Self {
        Validator {
            allow: config.forward.allow.clone(),
            methods: Methods::new(&config.forward.methods),
            hosts: config.hosts(),
            limits: config.limits.clone(),
            origins,
        }
    }

    /// Checks `req`. Returns the response to a request that ends at the proxy.
    fn check<B: Body>(
        &self,
        req: &Request<B>,
        route: &Route,
        connection: &ConnectionIdentity,
    ) -> Result<Option<Response<()>>, Error> {
        connection.check_certificate()?;
        match *req.method() {
            Method::CONNECT => {
                let allow = self.methods.allow_header().clone();
                return Err(Error::Tunnel { allow });
            }
            Method::TRACE => return Err(self.methods.not_allowed()),
            _ => {}
        }
        let head = Head::scan(req.headers());
        // First: a request that loops has lost its credentials, and would get 401 instead.
        if head.is_loop {
            return Err(Error::LoopDetected);
        }
        self.check_size(req, &head)?;
        head.check_transfer_encoding()?;
        check_values(req)?;
        head.check_authority(req)?;
        self.check_hosts(req, &head, connection)?;
        let preflight = head.origin.check(
            req,
            connection.is_tls,
            &self.origins,
            self.methods.allow_header(),
        )?;
        if preflight.is_some() {
            return Ok(preflight);
        }
        if !route.is_token_request {
            self.methods.check(req.method())?;
        }
        match req.uri().path() {
            // Asterisk-form asks about the server as a whole (RFC 9112 section 3.2.4).
            "*" if *req.method() == Method::OPTIONS => return Ok(self.final_recipient(req)),
            "*" => return Err(Error::BadRequest("only OPTIONS may ask for *")),
            // Authority-form is for CONNECT alone (RFC 9112 section 3.2.3).
            "" => return Err(Error::BadRequest("the target has no path")),
            path => check_path(path)?,
        }
        if route.has_repeated_prefix {
            return Err(Error::RepeatedPrefix);
        }
        if route.is_token_request || PathPrefix::any_covers(&self.allow, req.uri().path()) {
            Ok(self.final_recipient(req))
        } else {
            Err(Error::PathUnknown {
                allow: PathPrefix::list(&self.allow),
            })
        }
    }

    /// The response to an OPTIONS whose Max-Forwards makes the proxy its final recipient (RFC 9110
    /// section 7.6.2).
    fn final_recipient<B>(&self, req: &Request<B>) -> Option<Response<()>> {
        let is_final = *req.method() == Method::OPTIONS
            && req.headers().get(MAX_FORWARDS).is_some_and(|left| {
                !left.is_empty() && left.as_bytes().iter().all(|&digit| digit == b'0')
            });
        is_final.then(|| {
            let mut res = Response::new(());
            res.headers_mut()
                .insert(http::header::ALLOW, self.methods.allow_header().clone());
            res
        })
    }

    /// Checks each host that the request names.
    fn check_hosts<B>(
        &self,
        req: &Request<B>,
        head: &Head<'_>,
        connection: &ConnectionIdentity,
    ) -> Result<(), Error> {
        let host = head.host.map(HeaderValue::as_bytes);
        let authority = req
            .uri()
            .authority()
            .map(|authority| authority.as_str().as_bytes());
        let check = |host: Option<&[u8]>| match host {
            Some(host) if !self.hosts.has(host, connection.local) && !connection.is_named(host) => {
                Err(Error::HostNotAllowed {
                    host: shown_host(host),
                })
            }
            _ => Ok(()),
        };
        check(host)?;
        if authority == host {
            return Ok(());
        }
        check(authority)
    }

    fn check_size<B: Body>(&self, req: &Request<B>, head: &Head<'_>) -> Result<(), Error> {
        let target = req
            .uri()
            .path_and_query()
            .map_or(0, |target| target.as_str().len());
        if target as u64 > self.limits.max_target_bytes {
            return Err(Error::TargetTooLong {
                limit: Size(self.limits.max_target_bytes).to_string(),
            });
        }
        if head.count > self.limits.max_header_fields {
            let limit = self.limits.max_header_fields;
            let detail =
                format!("there are more than {limit} header fields (limits.max_header_fields)");
            return Err(Error::HeaderTooLarge { detail });
        }
        if head.length as u64 > self.limits.max_header_bytes {
            let limit = Size(self.limits.max_header_bytes);
            let detail =
                format!("the header fields are larger than {limit} (limits.max_header_bytes)");
            return Err(Error::HeaderTooLarge { detail });
        }
        if req.body().size_hint().lower() > self.limits.max_request_body {
            return Err(body_too_large(self.limits.max_request_body));
        }
        Ok(())
    }
}

/// `host` without its port, as far as it is shown. It is valid text: [`is_host`] was checked.
fn shown_host(host: &[u8]) -> String {
    /// No host name is longer (RFC 1035 section 2.3.4).
    const MAX_SHOWN: usize = 255;
    let host = without_port(host);
    String::from_utf8_lossy(&host[..host.len().min(MAX_SHOWN)]).into_owned()
}

/// Passes the valid requests of `connection`.
pub fn layer<S, In, Out>(
    validator: Arc<Validator>,
    connection: Arc<ConnectionIdentity>,
) -> impl Layer<S, Service = impl Step<WithContext<In>, ResponseBody<Out>> + use<S, In, Out>> + Clone
where
    S: Step<WithContext<In>, ResponseBody<Out>>,
    In: Body<Data = Bytes> + Unpin + Send + 'static,
    Out: Send + 'static,
{
    layer_fn(move |mut inner: S| {
        let (validator, connection) = (Arc::clone(&validator), Arc::clone(&connection));
        service_fn(move |req: Request<WithContext<In>>| {
            match validator.check(&req, req.body().context().route(), &connection) {
                Ok(None) => Either::Left(inner.call(req)),
                Ok(Some(res)) => Either::Right(ready(Ok(
                    res.map(|()| EitherBody::Right(Full::<Bytes>::default()))
                ))),
                Err(error) => Either::Right(ready(Err(error))),
            }
        })
    })
}

/// Findings of one pass over the fields, which costs less than a lookup of each name.
#[derive(Default)]
struct Head<'a> {
    count: usize,
    /// Length of all fields in HTTP/1 notation: with a colon, a space and a line end for each.
    length: usize,
    /// The last Host, and their number.
    host: Option<&'a HeaderValue>,
    hosts: usize,
    /// The last Transfer-Encoding, and their number.
    coding: Option<&'a HeaderValue>,
    codings: usize,
    origin: RequestOrigin<'a>,
    /// Whether a Via names this proxy.
    is_loop: bool,
}

impl<'a> Head<'a> {
    fn scan(headers: &'a HeaderMap) -> Self {
        let mut head = Head::default();
        for (name, value) in headers {
            // The proxy sets it, whether or not the caller sent one.
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
                head.origin.read(name, value);
            }
        }
        head
    }

    /// Allows only a single `chunked`: the parser also accepts codings before it, whose payload would
    /// be forwarded without their name (RFC 9112 section 6.1).
    fn check_transfer_encoding(&self) -> Result<(), Error> {
        match (self.coding, self.codings) {
            (None, _) => Ok(()),
            (Some(coding), 1) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
            _ => Err(Error::BadRequest("the Transfer-Encoding is not chunked")),
        }
    }

    /// Requires one well-formed authority, once or the same twice (RFC 9112 section 3.2, RFC 9113
    /// section 8.3.1). HTTP/1.0 requires none.
    fn check_authority<B>(&self, req: &Request<B>) -> Result<(), Error> {
        if self.hosts > 1 {
            return Err(Error::BadRequest("there is more than one Host field"));
        }
        if self.host.is_some_and(|host| !is_host(host.as_bytes())) {
            return Err(Error::BadRequest("the Host field is not a valid host"));
        }
        match (req.version(), self.host, req.uri().authority()) {
            (Version::HTTP_11, None, _) => Err(Error::BadRequest("the Host field is missing")),
            (Version::HTTP_2, None, None) => Err(Error::BadRequest("the :authority is missing")),
            (_, _, Some(authority)) if !is_host(authority.as_str().as_bytes()) => Err(
                Error::BadRequest("the authority of the target is not a valid host"),
            ),
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

/// Checks that the HTTP/1 parser makes and HTTP/2 lacks: no white space around a value (RFC 9113
/// section 8.2.1), and one length, even if it is repeated (RFC 9110 section 8.6).
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
    if lengths.all(|other| Some(other) == first) {
        Ok(())
    } else {
        Err(Error::BadRequest("there is more than one Content-Length"))
    }
}

/// Whether `text` is `host [":" port]` with a host and without a user (RFC 9110 sections 4.2.1 to
/// 4.2.4 and 7.2).
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
