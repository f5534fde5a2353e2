//! Requests that a web page makes a browser send. The page's user may well reach us, and the page
//! must not through them.
//!
//! Browsers say where a request comes from (Fetch, sections "`Origin` header" and "Fetch
//! metadata"); who is no browser says nothing of the kind, and is let through.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN, VARY,
};
use http::{Method, Request, Response, StatusCode};

use crate::error::Error;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// How long a browser may rely on what it is told of an origin.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// The origin of `req` if its pages may call and are of another site than ours.
pub(in crate::proxy) fn origin<B>(
    req: &Request<B>,
    allowed: &[HeaderValue],
) -> Option<HeaderValue> {
    // Without a page that may call there is nothing to look for.
    let origin = (!allowed.is_empty())
        .then(|| req.headers().get(ORIGIN))
        .flatten()?;
    allowed.contains(origin).then(|| origin.clone())
}

/// What a browser says of the page that makes it send a request.
#[derive(Default)]
pub(super) struct Page<'a> {
    origin: Option<&'a HeaderValue>,
    /// A browser names one.
    origins: usize,
    /// Whether it is said to be of another origin than ours.
    is_foreign: bool,
    /// Whether it is said to be of our own. The browser knows it also where something in front of
    /// us speaks TLS.
    is_own: bool,
}

impl<'a> Page<'a> {
    /// Takes the field if it is one of those.
    pub(super) fn note(&mut self, name: &HeaderName, value: &'a HeaderValue) {
        if *name == ORIGIN {
            self.origin = Some(value);
            self.origins += 1;
        } else if *name == SEC_FETCH_SITE {
            match value.as_bytes() {
                b"same-origin" => self.is_own = true,
                b"none" => {}
                _ => self.is_foreign = true,
            }
        }
    }

    /// Refuses what a page of another origin sends; gives the answer to a browser that asks in
    /// advance whether it may (CORS). `is_tls` is whether the connection is TLS.
    pub(super) fn check<B>(
        &self,
        req: &Request<B>,
        is_tls: bool,
        allowed: &[HeaderValue],
        methods: &HeaderValue,
    ) -> Result<Option<Response<()>>, Error> {
        let may_call = match self.origin {
            Some(page) => {
                self.origins == 1 && (allowed.contains(page) || self.is_same(page, req, is_tls))
            }
            None => !self.is_foreign,
        };
        if !may_call {
            return Err(Error::CrossSite);
        }
        let headers = req.headers();
        let asks = self.origin.is_some()
            && *req.method() == Method::OPTIONS
            && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        Ok(asks.then(|| preflight(headers, methods)))
    }

    /// Whether the page's origin is ours: the scheme of the connection, and the host by which the
    /// request calls us. A connection without TLS may be that of something in front of us that
    /// speaks TLS; then the browser has to say so.
    fn is_same<B>(&self, page: &HeaderValue, req: &Request<B>, is_tls: bool) -> bool {
        if self.is_foreign {
            return false;
        }
        let page = page.as_bytes();
        let page = match page.strip_prefix(b"https://") {
            Some(host) if is_tls || self.is_own => host,
            None if !is_tls => page.strip_prefix(b"http://").unwrap_or_default(),
            _ => return false,
        };
        let named = req
            .uri()
            .authority()
            .map(|authority| authority.as_str().as_bytes());
        let named = named.or_else(|| req.headers().get(HOST).map(HeaderValue::as_bytes));
        named.is_some_and(|named| named.eq_ignore_ascii_case(page))
    }
}

fn preflight(asked: &HeaderMap, methods: &HeaderValue) -> Response<()> {
    let mut res = Response::new(());
    *res.status_mut() = StatusCode::NO_CONTENT;
    let headers = res.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods.clone());
    if let Some(fields) = asked.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, fields.clone());
    }
    headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    res
}

/// Tells the browser that the page of `origin` may read the answer.
pub(in crate::proxy) fn admit(headers: &mut HeaderMap, origin: HeaderValue) {
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
        let mut page = Page::default();
        req.headers()
            .iter()
            .for_each(|(name, value)| page.note(name, value));
        page.check(&req, is_tls, &allowed, &HeaderValue::from_static("GET"))
    }

    #[test]
    fn pages_of_other_sites_are_refused() {
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
            // Something in front speaks TLS.
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
    fn a_browser_that_asks_for_an_allowed_page_is_told() {
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
