//! Credentials in an `Authorization` field (RFC 9110 section 11.6.2).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;

/// The bearer token in `value` (RFC 6750 section 2.1).
pub(crate) fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    credentials(value, b"bearer")
}

/// The password in `value`, of the Basic scheme (RFC 7617 section 2).
pub(crate) fn basic_password(value: &HeaderValue) -> Option<Vec<u8>> {
    let mut decoded = STANDARD.decode(credentials(value, b"basic")?).ok()?;
    let colon = decoded.iter().position(|&byte| byte == b':')?;
    Some(decoded.split_off(colon + 1))
}

/// Whether `value` is of the Basic scheme, well-formed or not.
pub(crate) fn is_basic(value: &HeaderValue) -> bool {
    credentials(value, b"basic").is_some()
}

/// The part after `scheme`, which is compared case-insensitively.
fn credentials<'a>(value: &'a HeaderValue, scheme: &[u8]) -> Option<&'a [u8]> {
    let (found, rest) = value.as_bytes().split_at_checked(scheme.len())?;
    let rest = rest.strip_prefix(b" ")?;
    found
        .eq_ignore_ascii_case(scheme)
        .then(|| rest.trim_ascii())
}
