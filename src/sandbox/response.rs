//! Constructors of the sandbox's responses: JSON, text or a streamed body.

use std::io;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use serde_json::Value;

/// A response body; the error of an injected fault breaks it off.
pub(super) type SandboxBody = UnsyncBoxBody<Bytes, io::Error>;

pub(super) type SandboxResponse = Response<SandboxBody>;

/// A 200 response.
pub(super) fn ok(value: &Value) -> SandboxResponse {
    json(StatusCode::OK, value)
}

pub(super) fn json(status: StatusCode, value: &Value) -> SandboxResponse {
    json_text(status, value.to_string())
}

/// A response with a JSON text, which may be invalid on purpose.
pub(super) fn json_text(status: StatusCode, text: String) -> SandboxResponse {
    self::text(status, "application/json", text)
}

pub(super) fn text(
    status: StatusCode,
    content_type: &'static str,
    text: String,
) -> SandboxResponse {
    let body = Full::from(text).map_err(|never| match never {});
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = status;
    with_header(response, CONTENT_TYPE, content_type)
}

pub(super) fn with_header(
    mut response: SandboxResponse,
    name: HeaderName,
    value: &'static str,
) -> SandboxResponse {
    let value = HeaderValue::from_static(value);
    response.headers_mut().insert(name, value);
    response
}
