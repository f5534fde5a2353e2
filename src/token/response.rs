//! The answers of a token endpoint: what is granted, and what is refused (RFC 6749 sections 5.1 and
//! 5.2).

use std::time::Duration;

use http::header::CONTENT_ENCODING;
use http::{HeaderMap, HeaderValue};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::client_auth::bearer_header;

/// A life beyond this is a mistake of the endpoint: ten years, in seconds.
const LONGEST_LIFE: f64 = 10.0 * 365.0 * 86_400.0;

/// What the endpoint granted.
#[derive(Debug)]
pub struct Grant {
    /// The token, ready to be sent.
    pub header: HeaderValue,
    /// `expires_in`, where the endpoint says it.
    pub life: Option<Duration>,
}

/// Reads the answer of a success.
///
/// # Errors
/// One sentence on what is wrong with it; never a part of it.
pub(super) fn parse_grant(body: &[u8]) -> Result<Grant, &'static str> {
    if body.trim_ascii().is_empty() {
        return Err("the answer is empty");
    }
    let answer: Answer =
        serde_json::from_slice(without_mark(body)).map_err(|error| match error.classify() {
            serde_json::error::Category::Eof => "the answer is cut off",
            serde_json::error::Category::Data => {
                "the answer lacks access_token or token_type, or a field of a wrong kind"
            }
            _ => "the answer is no JSON",
        })?;
    if !answer.token_type.eq_ignore_ascii_case("Bearer") {
        return Err("the token_type is not Bearer");
    }
    let header = bearer_header(&answer.access_token)
        .ok_or("the access_token is no bearer token (RFC 6750 2.1)")?;
    Ok(Grant {
        header,
        life: answer.expires_in.map(life).transpose()?,
    })
}

/// The content codings of the IANA registry, and the older names of two of them (RFC 9110 section
/// 8.4.1).
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

/// The content coding of an answer, if it has one. One that is not registered is not quoted:
/// nothing that the endpoint says is.
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

/// Some servers send a byte order mark, which is no JSON.
fn without_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body)
}

#[derive(Deserialize)]
struct Answer {
    access_token: Zeroizing<String>,
    token_type: String,
    #[serde(default)]
    expires_in: Option<Seconds>,
}

/// RFC 6749 asks for a number; some servers write it as a text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Seconds {
    Number(f64),
    Text(String),
}

fn life(seconds: Seconds) -> Result<Duration, &'static str> {
    let number = match seconds {
        Seconds::Number(number) => Some(number),
        Seconds::Text(text) => text.trim().parse().ok(),
    };
    match number {
        Some(number) if (1.0..=LONGEST_LIFE).contains(&number) => {
            Ok(Duration::from_secs_f64(number))
        }
        _ => Err("the expires_in is no life that a token can have"),
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

/// The code of an error answer, if it is one of the RFC's. Nothing else of it is kept: a
/// description may repeat what was sent, the secret among it.
pub(super) fn parse_error(body: &[u8]) -> Option<&'static str> {
    #[derive(Deserialize)]
    struct Answer {
        error: String,
    }
    let answer: Answer = serde_json::from_slice(without_mark(body)).ok()?;
    ERROR_CODES.into_iter().find(|code| *code == answer.error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life_of(expires_in: &str) -> Result<Option<Duration>, &'static str> {
        parse_grant(
            format!(r#"{{"access_token":"a","token_type":"bearer","expires_in":{expires_in}}}"#)
                .as_bytes(),
        )
        .map(|grant| grant.life)
    }

    #[test]
    fn a_life_is_a_number_in_any_spelling() {
        for text in ["3600", "\"3600\"", "3600.0", "\" 3600 \""] {
            assert_eq!(life_of(text), Ok(Some(Duration::from_secs(3600))), "{text}");
        }
        assert_eq!(life_of("null"), Ok(None));
        for text in [
            "0",
            "-1",
            "1e300",
            "315360001",
            "\"soon\"",
            "\"NaN\"",
            "0.5",
        ] {
            assert!(life_of(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_answer_without_a_usable_token_says_why() {
        let why = |body: &str| parse_grant(body.as_bytes()).unwrap_err();
        assert_eq!(why("\r\n"), "the answer is empty");
        assert_eq!(why("<html>"), "the answer is no JSON");
        assert_eq!(why(r#"{"access_token":"a""#), "the answer is cut off");
        assert_eq!(
            why(r#"{"token_type":"Bearer"}"#),
            "the answer lacks access_token or token_type, or a field of a wrong kind"
        );
        assert_eq!(
            why(r#"{"access_token":"a","token_type":"mac"}"#),
            "the token_type is not Bearer"
        );
        assert!(why(r#"{"access_token":"a b","token_type":"Bearer"}"#).contains("RFC 6750"));
    }

    #[test]
    fn a_mark_at_the_begin_and_a_line_end_do_no_harm() {
        let body = "\u{FEFF}{\"access_token\":\"a\",\"token_type\":\"BEARER\",\"more\":[1]}\r\n";
        let grant = parse_grant(body.as_bytes()).unwrap();
        assert_eq!(
            (grant.header.as_bytes(), grant.life),
            (&b"Bearer a"[..], None)
        );
    }

    #[test]
    fn a_content_coding_is_named_if_it_is_registered() {
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
    fn an_error_is_read_in_any_order_and_only_its_code_is_kept() {
        let body = b"{\"error_description\":\"Invalid client\",\"error\":\"invalid_client\"}\r\n";
        assert_eq!(parse_error(body), Some("invalid_client"));
        assert_eq!(
            parse_error("\u{FEFF}{\"error\":\"invalid_scope\"}".as_bytes()),
            Some("invalid_scope")
        );
        assert_eq!(parse_error(b"{\"error\":\"secret=hunter2\"}"), None);
        assert_eq!(parse_error(b"<html>"), None);
    }
}
