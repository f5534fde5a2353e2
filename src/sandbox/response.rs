//! Answers as they leave: JSON that is at hand, or a body that streams.

use std::io;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use serde_json::Value;

/// The body of an answer; one that breaks in the middle ends with an error.
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// An answer.
pub(super) type Answer = Response<Body>;

/// An answer with this JSON.
pub(super) fn json(status: StatusCode, value: &Value) -> Answer {
    json_text(status, value.to_string())
}

/// An answer with a JSON text that is written already.
pub(super) fn json_text(status: StatusCode, text: String) -> Answer {
    self::text(status, HeaderValue::from_static("application/json"), text)
}

/// An answer with a text of another type.
pub(super) fn text(status: StatusCode, content_type: HeaderValue, text: String) -> Answer {
    let body = Full::from(text)
        .map_err(|never| match never {})
        .boxed_unsync();
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    with(answer, CONTENT_TYPE, content_type)
}

/// The answer with one more header field.
pub(super) fn with(mut answer: Answer, name: HeaderName, value: HeaderValue) -> Answer {
    answer.headers_mut().insert(name, value);
    answer
}
