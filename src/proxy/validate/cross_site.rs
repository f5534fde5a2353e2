//! Cross-site requests: a web page must not call the API through the browser of a user who can.
//!
//! Browsers send the origin of a request (Fetch, sections "`Origin` header" and "Fetch metadata");
//! other clients send nothing of the kind and pass.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN, VARY,
};
use http::{Method, Request, Response, StatusCode};

use crate::error::Error;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Seconds for which a browser may cache a preflight response.
const PREFLIGHT_MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// The origin of `req`, if it is one of `allowed`.
pub(in crate::proxy) fn allowed_origin<B>(
    req: &Request<B>,
    allowed: &[HeaderValue],
) -> Option<HeaderValue> {
    // By default none are allowed, and the lookup is skipped.
    let origin = (!allowed.is_empty())
        .then(|| req.headers().get(ORIGIN))
        .flatten()?;
    allowed.contains(origin).then(|| origin.clone())
}

/// Origin of a request, as its browser sends it.
#[derive(Default)]
pub(super) struct RequestOrigin<'a> {
    origin: Option<&'a HeaderValue>,
    /// Number of Origin fields; a browser sends one.
    origins: usize,
    /// Whether Sec-Fetch-Site names another site.
    is_cross_site: bool,
    /// Whether Sec-Fetch-Site names the same origin, which the browser also knows if a server in
    /// front of the proxy terminates TLS.
    is_same_origin: bool,
}

impl<'a> RequestOrigin<'a> {
    /// Reads a field of the request.
    pub(super) fn read(&mut self, name: &HeaderName, value: &'a HeaderValue) {
        if *name == ORIGIN {
            self.origin = Some(value);
            self.origins += 1;
        } else if *name == SEC_FETCH_SITE {
            match value.as_bytes() {
                b"same-origin" => self.is_same_origin = true,
                b"none" => {}
                _ => self.is_cross_site = true,
            }
        }
    }

    /// Rejects a request of a page that is not allowed. Returns the response to a preflight request
    /// (CORS). `is_tls` says whether the connection is TLS.
    pub(super) fn check<B>(
        &self,
        req: &Request<B>,
        is_tls: bool,
        allowed: &[HeaderValue],
        methods: &HeaderValue,
    ) -> Result<Option<Response<()>>, Error> {
        let may_call = match self.origin {
            Some(origin) => {
                self.origins == 1 && (allowed.contains(origin) || self.is_same(origin, req, is_tls))
            }
            None => !self.is_cross_site,
        };
        if !may_call {
            return Err(Error::CrossSite);
        }
        let headers = req.headers();
        let is_preflight = self.origin.is_some()
            && *req.method() == Method::OPTIONS
            && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        Ok(is_preflight.then(|| preflight(headers, methods)))
    }

    /// Whether `origin` is the proxy's own: the scheme of the connection, and the host of the
    /// request. If a server in front terminates TLS, only Sec-Fetch-Site shows it.
    fn is_same<B>(&self, origin: &HeaderValue, req: &Request<B>, is_tls: bool) -> bool {
        if self.is_cross_site {
            return false;
        }
        let origin = origin.as_bytes();
        let host = match origin.strip_prefix(b"https://") {
            Some(host) if is_tls || self.is_same_origin => host,
            None if !is_tls => origin.strip_prefix(b"http://").unwrap_or_default(),
            _ => return false,
        };
        let target = req
            .uri()
            .authority()
            .map(|authority| authority.as_str().as_bytes());
        let target = target.or_else(|| req.headers().get(HOST).map(HeaderValue::as_bytes));
        target.is_some_and(|target| target.eq_ignore_ascii_case(host))
    }
}

fn preflight(requested: &HeaderMap, methods: &HeaderValue) -> Response<()> {
    let mut res = Response::new(());
    *res.status_mut() = StatusCode::NO_CONTENT;
    let headers = res.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods.clone());
    if let Some(fields) = requested.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, fields.clone());
    }
    headers.insert(ACCESS_CONTROL_MAX_AGE, PREFLIGHT_MAX_AGE);
    res
}

/// Lets the browser show the response to pages of `origin`.
pub(in crate::proxy) fn expose(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(
        ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("X-Request-ID, X-Proxy-Request-ID"),
    );
    headers.append(VARY, HeaderValue::from_static("Origin"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(is_tls: bool, fields: &[(&str, &str)]) -> Result<Option<Response<()>>, Error> {
        let mut req = Request::builder()
            .method(Method::OPTIONS)
            .header(HOST, "localhost:8080");
        for (name, value) in fields {
            req = req.header(*name, *value);
        }
        let allowed = [HeaderValue::from_static("https://crm.example")];
        let req = req.body(()).unwrap();
        let mut origin = RequestOrigin::default();
        req.headers()
            .iter()
            .for_each(|(name, value)| origin.read(name, value));
        origin.check(&req, is_tls, &allowed, &HeaderValue::from_static("GET"))
    }

    #[test]
    fn pages_of_other_sites_are_rejected() {
        for is_tls in [false, true] {
            let own = if is_tls {
                "https://localhost:8080"
            } else {
                "http://localhost:8080"
            };
            for fields in [
                &[("origin", "https://evil.example")][..],
                &[("origin", "null")],
                &[("origin", "localhost:8080")],
                &[("origin", "https://crm.example:444")],
                &[("origin", "https://crm.example.evil.example")],
                &[("sec-fetch-site", "cross-site")],
                &[("sec-fetch-site", "same-site")],
                &[("sec-fetch-site", "Cross-Site")],
                &[("sec-fetch-site", "")],
                &[
                    ("origin", "https://evil.example"),
                    ("sec-fetch-site", "same-origin"),
                ],
                &[
                    ("origin", "https://evil.example"),
                    ("access-control-request-method", "GET"),
                ],
                &[
                    ("origin", "https://evil.example"),
                    ("origin", "https://crm.example"),
                ],
                &[("origin", own), ("origin", own)],
                &[("origin", own), ("sec-fetch-site", "cross-site")],
                &[("origin", own), ("sec-fetch-site", "same-site")],
                &[
                    ("origin", own),
                    ("sec-fetch-site", "same-origin"),
                    ("sec-fetch-site", "cross-site"),
                ],
                &[("sec-fetch-site", "cross-site"), ("sec-fetch-site", "none")],
            ] {
                assert!(
                    matches!(checked(is_tls, fields), Err(Error::CrossSite)),
                    "{is_tls} {fields:?}"
                );
            }
            for fields in [
                &[][..],
                &[("sec-fetch-site", "none")],
                &[("sec-fetch-site", "same-origin")],
                &[("origin", own)],
                &[("origin", own), ("sec-fetch-site", "same-origin")],
                &[
                    ("origin", "https://crm.example"),
                    ("sec-fetch-site", "cross-site"),
                ],
                &[
                    ("origin", "https://crm.example"),
                    ("sec-fetch-site", "same-site"),
                ],
            ] {
                assert!(
                    checked(is_tls, fields).unwrap().is_none(),
                    "{is_tls} {fields:?}"
                );
            }
        }
    }

    #[test]
    fn the_scheme_is_part_of_an_origin() {
        const HTTP: (&str, &str) = ("origin", "http://localhost:8080");
        const HTTPS: (&str, &str) = ("origin", "https://localhost:8080");
        const OWN: (&str, &str) = ("sec-fetch-site", "same-origin");
        const NONE: (&str, &str) = ("sec-fetch-site", "none");
        for (is_tls, fields, passes) in [
            (true, &[HTTPS][..], true),
            (true, &[HTTP], false),
            (true, &[HTTP, OWN], false),
            (true, &[HTTP, NONE], false),
            (false, &[HTTP], true),
            (false, &[HTTPS], false),
            (false, &[HTTPS, NONE], false),
            // A server in front terminates TLS.
            (false, &[HTTPS, OWN], true),
        ] {
            assert_eq!(
                checked(is_tls, fields).is_ok(),
                passes,
                "{is_tls} {fields:?}"
            );
        }
    }

    #[test]
    fn a_preflight_of_an_allowed_page_is_answered() {
        let fields = [
            ("origin", "https://crm.example"),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "content-type, x-api-key"),
        ];
        let res = checked(true, &fields).unwrap().unwrap();
        assert_eq!(res.status(), 204);
        assert_eq!(res.headers()[ACCESS_CONTROL_ALLOW_METHODS], "GET");
        assert_eq!(
            res.headers()[ACCESS_CONTROL_ALLOW_HEADERS],
            "content-type, x-api-key"
        );
    }
}
