//! Request id: the name of a request in the log, in error bodies and in the response.

use http::header::{HeaderMap, HeaderName, HeaderValue};

/// The field that carries the id from a caller that chooses one, and back; it never goes to the
/// API.
pub(super) const FIELD: HeaderName = HeaderName::from_static("x-proxy-request-id");

const MAX_ID_BYTES: usize = 64;

/// The caller's id if it is fit to be logged, else a random one.
pub(super) fn choose(headers: &HeaderMap) -> HeaderValue {
    let chosen = headers.get(&FIELD).filter(|id| is_fit(id.as_bytes()));
    chosen.cloned().unwrap_or_else(random)
}

pub(super) fn text(id: &HeaderValue) -> &str {
    id.to_str().unwrap_or_default()
}

fn is_fit(id: &[u8]) -> bool {
    (1..=MAX_ID_BYTES).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic)
}

/// Sixteen hexadecimal digits: unique enough to find a line in a log; not a secret.
fn random() -> HeaderValue {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 16];
    let mut number = fastrand::u64(..);
    for letter in &mut text {
        *letter = DIGITS[(number & 0xF) as usize];
        number >>= 4;
    }
    HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static("0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_short_visible_id_is_accepted() {
        let chosen = |id: &str| {
            let headers = HeaderMap::from_iter([(FIELD, HeaderValue::from_str(id).unwrap())]);
            choose(&headers)
        };
        assert_eq!(chosen("order-77"), "order-77");
        for bad in ["", "a b", &"x".repeat(65)] {
            let id = chosen(bad);
            assert!(id.len() == 16 && id != bad, "{bad:?}");
        }
        assert_ne!(random(), random());
    }
}
