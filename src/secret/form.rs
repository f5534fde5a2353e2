//! Format of a secret: trims line ends, refuses control characters, and warns of likely mistakes.
//!
//! RFC 6749 appendixes A.1 and A.2 allow only printable ASCII in a client's id and secret. A line
//! end comes from `echo` or an editor and is never intended. Any other control character is refused,
//! because it would be sent.

/// Reason to refuse a text as a secret. Only fixed texts: none holds a part of the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The predicate of a sentence about the secret.
    pub cause: &'static str,
    /// The action for the operator.
    pub fix: &'static str,
}

const BYTE_ORDER_MARK: Refusal = Refusal {
    cause: "begins with a byte order mark (U+FEFF)",
    fix: "save it as UTF-8 without a byte order mark",
};
const SEVERAL_LINES: Refusal = Refusal {
    cause: "has more than one line",
    fix: "keep only the value, on one line",
};
const TAB: Refusal = Refusal {
    cause: "contains a tab",
    fix: "remove the tab, so that only the value is left",
};
const CONTROL: Refusal = Refusal {
    cause: "contains a control character",
    fix: "write the value again, as it was issued; `od -c` shows control characters",
};
const PEM: Refusal = Refusal {
    cause: "is PEM text, which this key does not accept",
    fix: "write the value that was issued; the client's private key goes into token.jwt_key or token.client_key",
};
pub(super) const NOT_UTF_8: Refusal = Refusal {
    cause: "is not UTF-8 text",
    fix: "save it as ASCII or UTF-8",
};
pub(super) const UTF_16: Refusal = Refusal {
    cause: "is UTF-16 text",
    fix: "save it as UTF-8 without a byte order mark",
};

/// Trims the line ends after `text`, which must be one line of printable characters.
///
/// # Errors
/// When it has a control character or a byte order mark, or is PEM: the private key would be sent
/// as the secret.
pub fn one_line(text: &str) -> Result<&str, Refusal> {
    if text.starts_with('\u{FEFF}') {
        return Err(BYTE_ORDER_MARK);
    }
    if text.contains("-----BEGIN ") || text.contains("-----END ") {
        return Err(PEM);
    }
    let line = text.trim_end_matches(['\r', '\n']);
    match line
        .chars()
        .find(|&c| c.is_control() || matches!(c, '\u{FEFF}' | '\u{FFFD}'))
    {
        None => Ok(line),
        Some('\r' | '\n') => Err(SEVERAL_LINES),
        Some('\t') => Err(TAB),
        // Replaces bytes that were not UTF-8.
        Some('\u{FFFD}') => Err(NOT_UTF_8),
        Some(_) => Err(CONTROL),
    }
}

/// Warnings of characters that are valid in a secret but may be a mistake.
pub fn warnings(text: &str) -> impl Iterator<Item = &'static str> {
    let is_in = |quote: char| text.len() > 1 && text.starts_with(quote) && text.ends_with(quote);
    let quoted = is_in('"') || is_in('\'');
    let blanks = text.trim() != text;
    let foreign = !text.is_ascii();
    [
        quoted.then_some("is in quotes, which are sent as a part of it; remove them unless they belong to it"),
        blanks.then_some("begins or ends with a blank, which is sent as a part of it; remove it unless it belongs to it"),
        foreign.then_some(
            "has non-ASCII characters, which the receiver may decode differently; use only ASCII",
        ),
    ]
    .into_iter()
    .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_are_trimmed_and_control_characters_refused() {
        for text in ["s3cret", "s3cret\n", "s3cret\r", "s3cret\r\n", "s3cret\n\n"] {
            assert_eq!(one_line(text), Ok("s3cret"), "{text:?}");
        }
        for (text, refusal) in [
            ("\u{FEFF}s3cret", BYTE_ORDER_MARK),
            ("\u{FEFF}", BYTE_ORDER_MARK),
            ("\ns3cret", SEVERAL_LINES),
            ("s3\r\ncret\n", SEVERAL_LINES),
            ("s3cret\t", TAB),
            ("s3cret\0", CONTROL),
            ("s3\u{1b}cret", CONTROL),
            ("s3cret\u{7f}", CONTROL),
            ("s3cret\u{85}", CONTROL),
            ("s3\u{FEFF}cret", CONTROL),
            ("s3\u{FFFD}cret", NOT_UTF_8),
            ("-----BEGIN PRIVATE KEY-----\\nMIIE", PEM),
            ("w==-----END PRIVATE KEY-----", PEM),
        ] {
            assert_eq!(one_line(text), Err(refusal), "{text:?}");
        }
    }

    #[test]
    fn quotes_blanks_and_foreign_letters_cause_warnings() {
        let of = |text| {
            warnings(text)
                .map(|warning| warning.split(',').next().unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(of("s3'cr\"et"), [""; 0]);
        assert_eq!(of("\""), [""; 0]);
        assert_eq!(of("\"s3cret\""), ["is in quotes"]);
        assert_eq!(of("'s3cret'"), ["is in quotes"]);
        assert_eq!(of(" s3cret"), ["begins or ends with a blank"]);
        assert_eq!(of("s3cret "), ["begins or ends with a blank"]);
        assert_eq!(of("s3crét"), ["has non-ASCII characters"]);
        assert_eq!(
            of("\u{a0}s3cret"),
            ["begins or ends with a blank", "has non-ASCII characters"]
        );
    }
}
