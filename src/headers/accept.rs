//! `Accept` (RFC 9110 section 12.5.1).

use http::header::{ACCEPT, HeaderMap, HeaderValue};

/// Returns true if `Accept` names the type `essence` without parameters, and does not exclude it
/// with `q=0`. A wildcard does not name it.
pub(crate) fn accepts_by_name(headers: &HeaderMap, essence: &str) -> bool {
    accepts_with_parameters(headers, essence, |_, _| false)
}

/// Returns true if `Accept` names a type, and does not exclude it with `q=0`. A range that has a
/// parameter for which `has_parameter` returns false does not match the type; of those that match,
/// the ones with most parameters decide.
pub(crate) fn accepts_with_parameters(
    headers: &HeaderMap,
    essence: &str,
    has_parameter: impl Fn(&[u8], &[u8]) -> bool,
) -> bool {
    let lines = headers.get_all(ACCEPT).iter().map(HeaderValue::as_bytes);
    // Most lines are too short, and cost no more than this.
    lines
        .filter(|line| line.len() >= essence.len())
        .flat_map(|line| split_unquoted(line, b','))
        .filter_map(|range| RangeMatch::new(range, essence, &has_parameter))
        .max()
        .is_some_and(|matched| !matched.is_excluded)
}

/// A media range that matches a type. The greatest one decides: the most specific, and of two that
/// are equally specific the one that excludes the type.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct RangeMatch {
    parameters: usize,
    is_excluded: bool,
}

impl RangeMatch {
    fn new(
        range: &[u8],
        essence: &str,
        has_parameter: impl Fn(&[u8], &[u8]) -> bool,
    ) -> Option<Self> {
        let mut parts = split_unquoted(range, b';').map(<[u8]>::trim_ascii);
        let name = parts.next()?;
        if !name.eq_ignore_ascii_case(essence.as_bytes()) {
            return None;
        }
        let mut matched = RangeMatch {
            parameters: 0,
            is_excluded: false,
        };
        for part in parts.filter(|part| !part.is_empty()) {
            let (name, value) = split_parameter(part);
            if name.eq_ignore_ascii_case(b"q") {
                matched.is_excluded = is_zero(value);
            } else if has_parameter(name, unquoted(value)) {
                matched.parameters += 1;
            } else {
                return None;
            }
        }
        Some(matched)
    }
}

/// Splits a parameter into name and value; the value of one without `=` is empty.
fn split_parameter(parameter: &[u8]) -> (&[u8], &[u8]) {
    let end = parameter.iter().position(|&byte| byte == b'=');
    end.map_or((parameter, b""), |end| {
        (&parameter[..end], &parameter[end + 1..])
    })
}

/// Returns true if `weight` is 0 (RFC 9110 section 12.4.2).
fn is_zero(weight: &[u8]) -> bool {
    matches!(weight, [b'0', rest @ ..] if rest.iter().all(|byte| matches!(byte, b'.' | b'0')))
}

/// The text of a quoted string without escapes; other values as they are.
fn unquoted(value: &[u8]) -> &[u8] {
    match value {
        [b'"', text @ .., b'"'] => text,
        _ => value,
    }
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

    fn headers(lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(ACCEPT, line.parse().unwrap());
        }
        headers
    }

    fn accepts(lines: &[&str]) -> bool {
        accepts_by_name(&headers(lines), PROBLEM)
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
        for weight in ["q=0", "Q=0", "q=0.0", "q=0.000", ";q=0"] {
            let excluded = format!("application/problem+json; {weight}");
            assert!(!accepts(&[&excluded]), "{weight}");
            assert!(!accepts(&[PROBLEM, &excluded]), "{weight}");
        }
    }

    /// RFC 9110 section 12.5.1: a range with parameters matches only types that have them.
    #[test]
    fn a_range_with_other_parameters_does_not_match() {
        for range in [
            "application/problem+json;charset=utf-8",
            "application/problem+json; profile=\"a;q=1,b\"",
            "application/problem+json;charset",
        ] {
            assert!(!accepts(&[range]), "{range}");
            let excluded = format!("{range};q=0");
            assert!(accepts(&[PROBLEM, &excluded]), "{range}");
            assert!(accepts(&[&excluded, PROBLEM]), "{range}");
        }
    }

    /// RFC 9110 section 12.5.1: the most specific range that matches decides.
    #[test]
    fn the_range_with_most_parameters_decides() {
        let accepts = |lines: &[&str]| {
            accepts_with_parameters(&headers(lines), "text/plain", |name, value| {
                name.eq_ignore_ascii_case(b"format") && value == b"flowed"
            })
        };
        for lines in [
            &["text/plain"][..],
            &["text/plain;FORMAT=\"flowed\";;q=0.1"],
            &["text/plain;q=0, text/plain;format=flowed"],
            &["text/plain;format=flowed", "text/plain;q=0"],
            &["text/plain;format=fixed;q=0, text/plain"],
        ] {
            assert!(accepts(lines), "{lines:?}");
        }
        for lines in [
            &["text/plain;format=fixed"][..],
            &["text/plain;format=flowed;q=0, text/plain"],
            &["text/plain", "text/plain;q=0;format=flowed"],
            &["text/plain;format=flowed, text/plain;q=0;format=flowed"],
        ] {
            assert!(!accepts(lines), "{lines:?}");
        }
    }
}
