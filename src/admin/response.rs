//! Responses of the admin server.

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;

pub(super) type AdminResponse = Response<Full<Bytes>>;

/// A plain text response.
pub(super) fn text(status: StatusCode, text: impl Into<Bytes>) -> AdminResponse {
    let mut res = with_type("text/plain; charset=utf-8", text);
    *res.status_mut() = status;
    res
}

/// A response with status 200.
pub(super) fn with_type(media_type: &'static str, body: impl Into<Bytes>) -> AdminResponse {
    let mut res = Response::new(Full::new(body.into()));
    res.headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    res
}

pub(super) fn method_not_allowed(allowed: &'static str) -> AdminResponse {
    let mut res = text(
        StatusCode::METHOD_NOT_ALLOWED,
        "this method is for nothing here\n",
    );
    res.headers_mut()
        .insert(ALLOW, HeaderValue::from_static(allowed));
    res
}
