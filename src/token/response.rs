//! Responses of a token endpoint: granted tokens and errors (RFC 6749 sections 5.1 and 5.2).

use std::time::Duration;

use http::header::CONTENT_ENCODING;
use http::{HeaderMap, HeaderValue};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::sensitive_header::bearer_header;

/// Longest plausible lifetime, in seconds: ten years.
const MAX_LIFETIME_SECONDS: f64 = 10.0 * 365.0 * 86_400.0;

/// A granted token.
#[derive(Debug)]
pub struct TokenResponse {
    /// `Bearer …`, marked sensitive.
    pub header: HeaderValue,
    /// `expires_in`.
    pub lifetime: Option<Duration>,
}

/// Parses the body of a success.
///
/// # Errors
/// A fixed text, which contains no part of the body.
pub(super) fn parse_token_response(body: &[u8]) -> Result<TokenResponse, &'static str> {
    if body.trim_ascii().is_empty() {
        return Err("the body is empty");
    }
    let response: RawTokenResponse = serde_json::from_slice(without_byte_order_mark(body))
        .map_err(|error| match error.classify() {
            serde_json::error::Category::Eof => "the body is truncated",
            serde_json::error::Category::Data => {
                "access_token or token_type is missing, or a field has the wrong type"
            }
            _ => "the body is not JSON",
        })?;
    if !response.token_type.eq_ignore_ascii_case("Bearer") {
        return Err("the token_type is not Bearer");
    }
    let header = bearer_header(&response.access_token)
        .ok_or("the access_token is not a bearer token (RFC 6750 2.1)")?;
    Ok(TokenResponse {
        header,
        lifetime: response.expires_in.map(lifetime).transpose()?,
    })
}

/// The registered content codings, and the older names of two of them (RFC 9110 section 8.4.1).
const CODINGS: [&str; 9] = [
    "gzip",
    "x-gzip",
    "br",
    "zstd",
    "deflate",
    "compress",
    "x-compress",
    "dcb",
    "dcz",
];

/// The content coding of a response, if it has one. An unregistered one is not quoted.
pub(super) fn content_coding(headers: &HeaderMap) -> Option<&'static str> {
    let values = headers.get_all(CONTENT_ENCODING).into_iter();
    let mut codings = values
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii);
    let found =
        codings.find(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity"))?;
    let known = CODINGS
        .into_iter()
        .find(|known| known.as_bytes().eq_ignore_ascii_case(found));
    Some(known.unwrap_or("of an unknown name"))
}

/// Some servers send a byte order mark, which is not JSON.
fn without_byte_order_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body)
}

#[derive(Deserialize)]
struct RawTokenResponse {
    access_token: Zeroizing<String>,
    token_type: String,
    #[serde(default)]
    expires_in: Option<Seconds>,
}

/// RFC 6749 defines a number; some servers send a string.
#[derive(Deserialize)]
#[serde(untagged)]
enum Seconds {
    Number(f64),
    Text(String),
}

fn lifetime(seconds: Seconds) -> Result<Duration, &'static str> {
    let number = match seconds {
        Seconds::Number(number) => Some(number),
        Seconds::Text(text) => text.trim().parse().ok(),
    };
    match number {
        Some(number) if (1.0..=MAX_LIFETIME_SECONDS).contains(&number) => {
            Ok(Duration::from_secs_f64(number))
        }
        _ => Err("the expires_in is not a plausible lifetime"),
    }
}

/// The error codes of RFC 6749 section 5.2.
const ERROR_CODES: [&str; 6] = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
];

/// The code of an error response, if RFC 6749 defines it. Nothing else is kept: a description may
/// repeat the request, including the secret.
pub(super) fn parse_error_code(body: &[u8]) -> Option<&'static str> {
    #[derive(Deserialize)]
    struct ErrorResponse {
        error: String,
    }
    let response: ErrorResponse = serde_json::from_slice(without_byte_order_mark(body)).ok()?;
    ERROR_CODES.into_iter().find(|code| *code == response.error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lifetime_of(expires_in: &str) -> Result<Option<Duration>, &'static str> {
        parse_token_response(
            format!(r#"{{"access_token":"a","token_type":"bearer","expires_in":{expires_in}}}"#)
                .as_bytes(),
        )
        .map(|response| response.lifetime)
    }

    #[test]
    fn a_lifetime_is_a_number_or_a_string() {
        for text in ["3600", "\"3600\"", "3600.0", "\" 3600 \""] {
            assert_eq!(
                lifetime_of(text),
                Ok(Some(Duration::from_secs(3600))),
                "{text}"
            );
        }
        assert_eq!(lifetime_of("null"), Ok(None));
        for text in [
            "0",
            "-1",
            "1e300",
            "315360001",
            "\"soon\"",
            "\"NaN\"",
            "0.5",
        ] {
            assert!(lifetime_of(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_response_without_a_token_has_a_reason() {
        let why = |body: &str| parse_token_response(body.as_bytes()).unwrap_err();
        assert_eq!(why("\r\n"), "the body is empty");
        assert_eq!(why("<html>"), "the body is not JSON");
        assert_eq!(why(r#"{"access_token":"a""#), "the body is truncated");
        assert_eq!(
            why(r#"{"token_type":"Bearer"}"#),
            "access_token or token_type is missing, or a field has the wrong type"
        );
        assert_eq!(
            why(r#"{"access_token":"a","token_type":"mac"}"#),
            "the token_type is not Bearer"
        );
        assert!(why(r#"{"access_token":"a b","token_type":"Bearer"}"#).contains("RFC 6750"));
    }

    #[test]
    fn byte_order_mark_and_line_end_are_ignored() {
        let body = "\u{FEFF}{\"access_token\":\"a\",\"token_type\":\"BEARER\",\"more\":[1]}\r\n";
        let response = parse_token_response(body.as_bytes()).unwrap();
        assert_eq!(
            (response.header.as_bytes(), response.lifetime),
            (&b"Bearer a"[..], None)
        );
    }

    #[test]
    fn only_a_registered_content_coding_is_named() {
        let of = |values: &[&'static str]| {
            let values = values
                .iter()
                .map(|value| (CONTENT_ENCODING, HeaderValue::from_static(value)));
            content_coding(&HeaderMap::from_iter(values))
        };
        assert_eq!(
            (of(&[]), of(&["identity"]), of(&[" Identity , "])),
            (None, None, None)
        );
        assert_eq!(
            (of(&["GZIP"]), of(&["identity, br"])),
            (Some("gzip"), Some("br"))
        );
        assert_eq!(of(&["hunter2"]), Some("of an unknown name"));
    }

    #[test]
    fn only_the_code_of_an_error_is_kept() {
        let body = b"{\"error_description\":\"Invalid client\",\"error\":\"invalid_client\"}\r\n";
        assert_eq!(parse_error_code(body), Some("invalid_client"));
        assert_eq!(
            parse_error_code("\u{FEFF}{\"error\":\"invalid_scope\"}".as_bytes()),
            Some("invalid_scope")
        );
        assert_eq!(parse_error_code(b"{\"error\":\"secret=hunter2\"}"), None);
        assert_eq!(parse_error_code(b"<html>"), None);
    }
}
