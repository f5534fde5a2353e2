//! Diagnosis of a PEM file that cannot be used: the likely cause and its fix, in fixed texts that
//! hold no byte of the file.

/// A fault of a file, and its fix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PemFault {
    pub(crate) cause: &'static str,
    pub(crate) fix: &'static str,
}

const fn fault(cause: &'static str, fix: &'static str) -> PemFault {
    PemFault { cause, fix }
}

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";
/// The base64 of `BEGIN`, as far as it does not depend on what follows.
const BEGIN_IN_BASE64: &[u8] = b"LS0tLS1CRUdJTi";

const EMPTY: PemFault = fault("the file is empty", "write the PEM text into the file");
pub(crate) const BYTE_ORDER_MARK: PemFault = fault(
    "the file begins with a byte order mark",
    "save it as UTF-8 without a byte order mark",
);
const UTF_16: PemFault = fault(
    "the file is UTF-16 text",
    "save it as UTF-8 or ASCII, without a byte order mark",
);
const BINARY: PemFault = fault(
    "the file is binary (DER or PKCS #12), not PEM",
    "convert it to PEM: openssl x509 -inform der for a certificate, openssl pkey -inform der for a key, openssl pkcs12 for \
     both in one file",
);
const IN_BASE64: PemFault = fault(
    "the file holds the base64 of a PEM file",
    "decode it once, with base64 -d; a Kubernetes Secret takes PEM as it is under stringData, and base64 under data",
);
const ESCAPED: PemFault = fault(
    "the line breaks are written as \\n",
    "write real line breaks: sed -i 's/\\\\n/\\n/g' FILE; docker --env-file, and quotes in YAML and Terraform, leave \\n as it is",
);
const QUOTED: PemFault = fault(
    "the PEM text stands in quotes",
    "remove the quotes from the file",
);
const INDENTED: PemFault = fault(
    "the lines BEGIN and END are indented",
    "remove the blanks at the start of each line; in YAML, write the text below `|` with one indentation throughout",
);
const BLANKS: PemFault = fault(
    "the line breaks were replaced by blanks",
    "give a PEM file with real line breaks; a shell replaces them where a variable is not quoted",
);
const ONE_LINE: PemFault = fault(
    "the line breaks are missing",
    "give a PEM file with real line breaks: BEGIN and END stand on lines of their own",
);
const CUT_OFF: PemFault = fault(
    "a line END is missing: the file is cut off",
    "give a PEM file that is whole",
);
const MISMATCH: PemFault = fault(
    "the lines BEGIN and END do not name the same kind",
    "give a PEM file that is whole",
);
const ENCRYPTED: PemFault = fault(
    "the private key is encrypted with a passphrase",
    "decrypt it: openssl pkey -in FILE -out NEW, and protect the new file by its permissions",
);
const OPENSSH: PemFault = fault(
    "the file holds a key in OpenSSH's own format",
    "convert it: ssh-keygen -p -m PKCS8 -f FILE, or make a key with openssl genpkey",
);
const DAMAGED: PemFault = fault(
    "the base64 between BEGIN and END is damaged",
    "give a PEM file as it was issued",
);

/// The likely cause, or `None` where the file looks like PEM with nothing wrong in its form.
pub(crate) fn find(bytes: &[u8]) -> Option<PemFault> {
    let text = bytes.trim_ascii();
    if text.is_empty() {
        return Some(EMPTY);
    }
    if begins_with_mark(bytes) {
        return Some(BYTE_ORDER_MARK);
    }
    if bytes.starts_with(b"\xFF\xFE") || bytes.starts_with(b"\xFE\xFF") {
        return Some(UTF_16);
    }
    if position(text, BEGIN).is_none() {
        return match text {
            _ if text.starts_with(BEGIN_IN_BASE64) => Some(IN_BASE64),
            // A DER SEQUENCE with a length of two bytes.
            [0x30, 0x82, ..] => Some(BINARY),
            [_, 0, ..] | [0, _, ..] => Some(UTF_16),
            _ if text.contains(&0) => Some(BINARY),
            _ => None,
        };
    }
    if matches!(text.first(), Some(b'"' | b'\'')) && position(text, b"\\n").is_none() {
        return Some(QUOTED);
    }
    sections(bytes)
}

/// Returns true if `bytes` begin with the UTF-8 byte order mark. PEM parsers then skip the first
/// section without an error.
pub(crate) fn begins_with_mark(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\xEF\xBB\xBF")
}

/// The first fault in one of the sections.
fn sections(text: &[u8]) -> Option<PemFault> {
    let mut from = 0;
    while let Some(at) = position(&text[from..], BEGIN).map(|found| from + found) {
        let line_start = text[..at]
            .iter()
            .rposition(is_line_break)
            .map_or(0, |found| found + 1);
        // What was looked at already belongs to the section before.
        let lead = &text[line_start.max(from)..at];
        let found = section(lead, &text[at + BEGIN.len()..]);
        if found.is_some() {
            return found;
        }
        from = at + BEGIN.len();
    }
    None
}

/// The fault of the section whose BEGIN follows `lead` on its line and is followed by `rest`.
fn section(lead: &[u8], rest: &[u8]) -> Option<PemFault> {
    let Some(label_end) = position(rest, DASHES) else {
        return Some(CUT_OFF);
    };
    let (label, body) = (&rest[..label_end], &rest[label_end + DASHES.len()..]);
    let until_end = position(body, END);
    let inside = &body[..until_end.unwrap_or(body.len())];
    if [lead, label, inside]
        .iter()
        .any(|part| position(part, b"\\n").is_some())
    {
        return Some(ESCAPED);
    }
    let line_end = body.iter().position(is_line_break).unwrap_or(body.len());
    let trailer = &body[..line_end];
    if !trailer.trim_ascii().is_empty() {
        return Some(if trailer.starts_with(b" ") {
            BLANKS
        } else {
            ONE_LINE
        });
    }
    let Some(until_end) = until_end else {
        return Some(CUT_OFF);
    };
    let last_line = inside
        .iter()
        .rposition(is_line_break)
        .map_or(inside, |found| &inside[found + 1..]);
    if let Some(part) = [lead, last_line].into_iter().find(|part| !part.is_empty()) {
        return Some(if part.trim_ascii().is_empty() {
            INDENTED
        } else {
            ONE_LINE
        });
    }
    if position(inside, BEGIN).is_some() {
        return Some(CUT_OFF);
    }
    let end = &body[until_end + END.len()..];
    if !end
        .strip_prefix(label)
        .is_some_and(|rest| rest.starts_with(DASHES))
    {
        return Some(MISMATCH);
    }
    if label == b"ENCRYPTED PRIVATE KEY" || position(inside, b"Proc-Type: 4,ENCRYPTED").is_some() {
        return Some(ENCRYPTED);
    }
    if label == b"OPENSSH PRIVATE KEY" {
        return Some(OPENSSH);
    }
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/= \t\r\n".contains(byte);
    (!inside.iter().all(is_base64)).then_some(DAMAGED)
}

fn is_line_break(byte: &u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

fn position(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADAN\nBgkqhkiG9w0=\n-----END PRIVATE KEY-----\n";

    #[test]
    fn each_damage_has_its_cause() {
        let utf_16: Vec<u8> = KEY.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let cases: [(Vec<u8>, PemFault); 20] = [
            (b" \n".to_vec(), EMPTY),
            (format!("\u{FEFF}{KEY}").into(), BYTE_ORDER_MARK),
            ([b"\xFF\xFE", &utf_16[..]].concat(), UTF_16),
            (utf_16, UTF_16),
            (b"\x30\x82\x04\xBD\x02\x01\x00".to_vec(), BINARY),
            (
                b"LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0tCg==\n".to_vec(),
                IN_BASE64,
            ),
            (KEY.replace('\n', "\\n").into(), ESCAPED),
            (KEY.replace('\n', "\\r\\n").into(), ESCAPED),
            (format!("\"{}\"", KEY.replace('\n', "\\n")).into(), ESCAPED),
            (format!("\"{KEY}\"").into(), QUOTED),
            (KEY.replace('\n', "\n  ").into(), INDENTED),
            (format!("  {KEY}").into(), INDENTED),
            (KEY.replace('\n', " ").into(), BLANKS),
            (KEY.replace('\n', "").into(), ONE_LINE),
            (KEY[..50].into(), CUT_OFF),
            (format!("{}{KEY}", &KEY[..50]).into(), CUT_OFF),
            (KEY.replace("END PRIVATE", "END PUBLIC").into(), MISMATCH),
            (
                KEY.replace("PRIVATE", "ENCRYPTED PRIVATE").into(),
                ENCRYPTED,
            ),
            (KEY.replace("PRIVATE", "OPENSSH PRIVATE").into(), OPENSSH),
            (KEY.replace("MII", "M!I").into(), DAMAGED),
        ];
        for (bytes, expected) in cases {
            assert_eq!(
                find(&bytes),
                Some(expected),
                "{}",
                String::from_utf8_lossy(&bytes)
            );
            // Also behind a sound section.
            if bytes.starts_with(b"-----BEGIN ") {
                assert_eq!(find(&[KEY.as_bytes(), &bytes].concat()), Some(expected));
            }
        }
    }

    #[test]
    fn sound_text_has_no_fault() {
        for text in [
            KEY.to_owned(),
            KEY.replace('\n', "\r\n"),
            format!("subject=a\n{KEY}{KEY}"),
            "x".to_owned(),
        ] {
            assert_eq!(find(text.as_bytes()), None, "{text}");
        }
    }
}
