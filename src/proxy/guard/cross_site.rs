//! Requests that a web page makes a browser send. The page's user may well reach us, and the page must not through them.
//!
//! Browsers say where a request comes from (Fetch, sections "`Origin` header" and "Fetch metadata"); who is no browser says
//! nothing of the kind, and is let through.

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
pub(in crate::proxy) fn origin<B>(req: &Request<B>, allowed: &[HeaderValue]) -> Option<HeaderValue> {
    // Without a page that may call there is nothing to look for.
    let origin = (!allowed.is_empty()).then(|| req.headers().get(ORIGIN)).flatten()?;
    allowed.contains(origin).then(|| origin.clone())
}

/// What a browser says of the page that makes it send a request.
#[derive(Default)]
pub(super) struct Page<'a> {
    origin: Option<&'a HeaderValue>,
    /// A browser names one.
    origins: usize,
    /// Whether it is said to be of another site than ours.
    is_foreign: bool,
}

impl<'a> Page<'a> {
    /// Takes the field if it is one of those.
    pub(super) fn note(&mut self, name: &HeaderName, value: &'a HeaderValue) {
        if *name == ORIGIN {
            self.origin = Some(value);
            self.origins += 1;
        } else if *name == SEC_FETCH_SITE {
            self.is_foreign |= !matches!(value.as_bytes(), b"none" | b"same-origin");
        }
    }

    /// Refuses what a page of another site sends; gives the answer to a browser that asks in advance whether it may (CORS).
    pub(super) fn check<B>(
        &self,
        req: &Request<B>,
        allowed: &[HeaderValue],
        methods: &HeaderValue,
    ) -> Result<Option<Response<()>>, Error> {
        if let Some(page) = self.origin {
            if self.origins > 1 || (!allowed.contains(page) && !is_same(page, req)) {
                return Err(Error::CrossSite);
            }
            let headers = req.headers();
            let asks =
                *req.method() == Method::OPTIONS && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
            return Ok(asks.then(|| preflight(headers, methods)));
        }
        match self.is_foreign {
            false => Ok(None),
            true => Err(Error::CrossSite),
        }
    }
}

/// Whether the page's origin is what the request calls us.
fn is_same<B>(page: &HeaderValue, req: &Request<B>) -> bool {
    let page = page.as_bytes();
    let page = page.strip_prefix(b"http://").or_else(|| page.strip_prefix(b"https://"));
    let named = req.uri().authority().map(|authority| authority.as_str().as_bytes());
    let named = named.or_else(|| req.headers().get(HOST).map(HeaderValue::as_bytes));
    page.is_some_and(|page| named.is_some_and(|named| named.eq_ignore_ascii_case(page)))
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
    headers
        .insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("X-Request-ID, X-Proxy-Request-ID"));
    headers.append(VARY, HeaderValue::from_static("Origin"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(fields: &[(&str, &str)]) -> Result<Option<Response<()>>, Error> {
        let mut req = Request::builder().method(Method::OPTIONS).header(HOST, "localhost:8080");
        for (name, value) in fields {
            req = req.header(*name, *value);
        }
        let allowed = [HeaderValue::from_static("https://crm.example")];
        let req = req.body(()).unwrap();
        let mut page = Page::default();
        req.headers().iter().for_each(|(name, value)| page.note(name, value));
        page.check(&req, &allowed, &HeaderValue::from_static("GET"))
    }

    #[test]
    fn pages_of_other_sites_are_refused() {
        for fields in [
            &[("origin", "https://evil.example")][..],
            &[("origin", "null")],
            &[("origin", "https://crm.example:444")],
            &[("origin", "https://crm.example.evil.example")],
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "Cross-Site")],
            &[("origin", "https://evil.example"), ("sec-fetch-site", "same-origin")],
            &[("origin", "https://evil.example"), ("access-control-request-method", "GET")],
            &[("origin", "https://evil.example"), ("origin", "https://crm.example")],
            &[("sec-fetch-site", "cross-site"), ("sec-fetch-site", "none")],
        ] {
            assert!(matches!(checked(fields), Err(Error::CrossSite)), "{fields:?}");
        }
        for fields in [
            &[][..],
            &[("sec-fetch-site", "none")],
            &[("sec-fetch-site", "same-origin")],
            &[("origin", "http://localhost:8080")],
            &[("origin", "https://crm.example"), ("sec-fetch-site", "cross-site")],
        ] {
            assert!(checked(fields).unwrap().is_none(), "{fields:?}");
        }
    }

    #[test]
    fn a_browser_that_asks_for_an_allowed_page_is_told() {
        let fields = [
            ("origin", "https://crm.example"),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "content-type, x-api-key"),
        ];
        let res = checked(&fields).unwrap().unwrap();
        assert_eq!(res.status(), 204);
        assert_eq!(res.headers()[ACCESS_CONTROL_ALLOW_METHODS], "GET");
        assert_eq!(res.headers()[ACCESS_CONTROL_ALLOW_HEADERS], "content-type, x-api-key");
    }
}
