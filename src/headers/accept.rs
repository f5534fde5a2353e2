//! `Accept` (RFC 9110 section 12.5.1).

use http::header::{ACCEPT, HeaderMap, HeaderValue};

/// Whether `Accept` names `media_type`, and does not exclude it with `q=0`. A wildcard does not
/// name it.
pub(crate) fn accepts_by_name(headers: &HeaderMap, media_type: &str) -> bool {
    let lines = headers.get_all(ACCEPT).iter().map(HeaderValue::as_bytes);
    // Most lines are too short, and cost no more than this.
    let lines = lines.filter(|line| line.len() >= media_type.len());
    let mut is_named = false;
    for range in lines.flat_map(|line| split_unquoted(line, b',')) {
        let mut parts = split_unquoted(range, b';').map(<[u8]>::trim_ascii);
        let name = parts.next().unwrap_or_default();
        if name.eq_ignore_ascii_case(media_type.as_bytes()) {
            if parts.any(is_zero_weight) {
                return false;
            }
            is_named = true;
        }
    }
    is_named
}

/// Whether `parameter` is the weight 0 (RFC 9110 section 12.4.2).
fn is_zero_weight(parameter: &[u8]) -> bool {
    matches!(parameter, [b'q' | b'Q', b'=', b'0', rest @ ..]
        if rest.iter().all(|byte| matches!(byte, b'.' | b'0')))
}

/// Splits `text` at each `delimiter` outside of quotes (RFC 9110 section 5.6.4).
fn split_unquoted(text: &[u8], delimiter: u8) -> impl Iterator<Item = &[u8]> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.split(move |&byte| {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            _ => return byte == delimiter && !is_quoted,
        }
        false
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROBLEM: &str = "application/problem+json";

    fn accepts(lines: &[&str]) -> bool {
        let fields = lines.iter().map(|line| (ACCEPT, line.parse().unwrap()));
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, value);
        }
        accepts_by_name(&headers, PROBLEM)
    }

    #[test]
    fn a_named_media_type_is_accepted() {
        for lines in [
            &[PROBLEM][..],
            &["text/html, Application/Problem+JSON;q=0.5"],
            &["application/json", "application/problem+json"],
            &["text/html;x=\"a\\\",b\";q=0 , application/problem+json ; q=1.000"],
            &["application/problem+json;q=0.001"],
        ] {
            assert!(accepts(lines), "{lines:?}");
        }
    }

    #[test]
    fn other_types_and_wildcards_do_not_name_it() {
        for lines in [
            &[][..],
            &["*/*"],
            &["application/*, application/json;q=0.9"],
            &["application/problem+jsonx"],
            &["xapplication/problem+json"],
            &["text/html;x=\",application/problem+json,\""],
        ] {
            assert!(!accepts(lines), "{lines:?}");
        }
    }

    #[test]
    fn a_weight_of_zero_excludes() {
        for weight in ["q=0", "Q=0", "q=0.0", "q=0.000", "charset=utf-8;  q=0"] {
            let excluded = format!("application/problem+json; {weight}");
            assert!(!accepts(&[&excluded]), "{weight}");
            assert!(!accepts(&[PROBLEM, &excluded]), "{weight}");
        }
    }
}
