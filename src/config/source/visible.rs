//! Values and names that a message may quote: none that may hold a secret.

use crate::config::types::caller_key;
use crate::secret;

/// Longer than most numbers, names and URLs; most secrets are longer.
const MAX_QUOTED_BYTES: usize = 48;

/// The quoted `value`, unless it may be a secret.
pub(crate) fn quote(value: &toml::Value) -> Option<String> {
    let text = value.to_string();
    let inner = value.as_str().unwrap_or(&text);
    may_quote(inner).then_some(text)
}

/// Returns true if a message may quote `text`.
pub(crate) fn may_quote(text: &str) -> bool {
    // A user or a query of a URL, and a key as JSON.
    let may_have_secret = text.contains(['{', '}', '@', '?']) || caller_key::is_random(text);
    text.len() <= MAX_QUOTED_BYTES
        && !may_have_secret
        && !text.contains(char::is_control)
        && !secret::holds_key(text)
        && !caller_key::may_be_in(text)
}

/// Returns true if `path` can be the name of a key and nothing else, unlike
/// `token.client_secret:hunter2`.
pub(crate) fn is_name(path: &str) -> bool {
    let is_plain = |c: char| c.is_alphanumeric() || "._-[]\"".contains(c);
    may_quote(path) && path.chars().all(is_plain)
}

/// Returns `text`, or `None` if it contains a caller's key, or a private key or certificate in
/// base64.
pub(crate) fn unless_secret(text: String) -> Option<String> {
    Some(text).filter(|text| !caller_key::is_secret(text))
}
