//! Message framing of HTTP/1.1 (RFC 9112 section 6), where hyper sends too little or accepts too
//! much.

use http::header::{CONTENT_LENGTH, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use http::{Method, Request};
use hyper::body::Body;

/// Sets `Transfer-Encoding: chunked` on a GET or HEAD request with a body of unknown length: hyper
/// would send neither the field nor the body.
pub(super) fn declare_chunked_body<B: Body>(req: &mut Request<B>) {
    let has_undeclared_body = matches!(*req.method(), Method::GET | Method::HEAD)
        && !req.body().is_end_stream()
        && req.body().size_hint().exact().is_none()
        && !req.headers().contains_key(CONTENT_LENGTH);
    if has_undeclared_body {
        req.headers_mut()
            .insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

/// Leaves at most one unambiguous framing field in a response: hyper's parser accepts more.
///
/// A coding other than `chunked` is an error, since it would be forwarded without its name, and a
/// length beside `chunked` is removed (RFC 9112 sections 6.1 and 6.3). A repeated length is
/// forwarded once, and one that is not a number is an error (RFC 9110 section 8.6).
pub(super) fn normalize_framing(headers: &mut HeaderMap) -> Result<(), &'static str> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => {}
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => {
            headers.remove(CONTENT_LENGTH);
            return Ok(());
        }
        _ => return Err("its Transfer-Encoding is not chunked"),
    }
    if has_plain_length(headers) {
        return Ok(());
    }
    let members = headers
        .get_all(CONTENT_LENGTH)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&b| b == b','));
    let mut lengths = members.map(|text| parse_length(text.trim_ascii()));
    let Some(first) = lengths.next() else {
        return Ok(());
    };
    match first.filter(|_| lengths.all(|other| other == first)) {
        Some(length) => {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
            Ok(())
        }
        None => Err("its Content-Length is not a single number"),
    }
}

/// Fast path: one length of at most 18 digits, which always fit in a `u64`, without a leading zero.
fn has_plain_length(headers: &HeaderMap) -> bool {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let (Some(first), None) = (lengths.next(), lengths.next()) else {
        return false;
    };
    let digits = first.as_bytes();
    matches!(digits.len(), 1..=18)
        && digits.iter().all(u8::is_ascii_digit)
        && (digits[0] != b'0' || digits.len() == 1)
}

fn parse_length(text: &[u8]) -> Option<u64> {
    let digits = text.iter().all(u8::is_ascii_digit).then_some(text)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}
