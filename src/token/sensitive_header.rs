//! Header values that hold a secret: marked sensitive, so that their `Debug` shows nothing, and
//! zeroed on drop.

use bytes::Bytes;
use http::HeaderValue;
use zeroize::Zeroizing;

/// `Bearer …`, if `token` has the syntax of RFC 6750 section 2.1: an equals sign is padding and only
/// allowed at the end.
pub(super) fn bearer_header(token: &str) -> Option<HeaderValue> {
    let unpadded = token.trim_end_matches('=');
    let is_b64token = !unpadded.is_empty()
        && unpadded
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte));
    if !is_b64token {
        return None;
    }
    sensitive_header(["Bearer ", token])
}

/// The concatenated `parts`, in memory that is zeroed when the last clone is dropped.
pub(super) fn sensitive_header(parts: [&str; 2]) -> Option<HeaderValue> {
    // Allocated once: a reallocation would leave copies that are not zeroed.
    let mut value = Zeroizing::new(Vec::with_capacity(
        parts.iter().map(|part| part.len()).sum(),
    ));
    parts
        .iter()
        .for_each(|part| value.extend_from_slice(part.as_bytes()));
    let mut header = HeaderValue::from_maybe_shared(Bytes::from_owner(value)).ok()?;
    header.set_sensitive(true);
    Some(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_of_another_syntax_is_rejected() {
        for bad in [
            "",
            "a b",
            "a\r\nX: y",
            "é",
            "a\0",
            "=",
            "==",
            "=a",
            "a=b",
            "a=b=",
        ] {
            assert!(bearer_header(bad).is_none(), "{bad:?}");
        }
        let header = bearer_header("eyJ.a-b_c~d+/==").unwrap();
        assert!(header.is_sensitive());
        assert_eq!(header, "Bearer eyJ.a-b_c~d+/==");
    }
}
