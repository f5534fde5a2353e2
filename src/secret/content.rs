//! Detection of a private key, or other content of a file, that was written in place of its path.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// Whether `path` is the content of a file rather than a path: no message may show it.
pub fn is_content(path: &str) -> bool {
    /// PATH_MAX and NAME_MAX of Linux.
    const MAX_PATH_BYTES: usize = 4095;
    const MAX_NAME_BYTES: usize = 255;
    let bare = unquoted(path);
    let bare = bare.strip_prefix("file:").map_or(bare, unquoted);
    holds_key(path)
        || is_json(bare)
        || is_token(bare)
        || bare.len() > MAX_PATH_BYTES
        || bare.split('/').any(|name| name.len() > MAX_NAME_BYTES)
        || bare.contains(|c: char| c.is_control() || c == '\u{FEFF}')
}

/// Whether `text` contains a key or a certificate, in PEM or in bare base64.
pub fn holds_key(text: &str) -> bool {
    text.contains("-----") || holds_encoded_key(text)
}

/// Whether `text` contains a key or a certificate in base64 or base64url, whatever surrounds it or
/// breaks its lines.
pub fn holds_encoded_key(text: &str) -> bool {
    /// A shorter part of a key is little more than the header that all keys of its kind share.
    const MIN_LETTERS: usize = 24;
    let mut letters = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.as_bytes().iter();
    while let Some(&byte) = rest.next() {
        match byte {
            // A line end as JSON and shells write it: the letter after the backslash belongs to it.
            b'\\' if matches!(rest.as_slice(), [b'n' | b'r', ..]) => {
                rest.next();
            }
            b'-' => letters.push(b'+'),
            b'_' => letters.push(b'/'),
            b'+' | b'/' => letters.push(byte),
            byte if byte.is_ascii_alphanumeric() => letters.push(byte),
            _ => {}
        }
    }
    letters.windows(MIN_LETTERS).any(begins_a_key)
}

/// Whether base64 `letters`, at least eight, are the start of DER, OpenSSH's format, or PEM.
fn begins_a_key(letters: &[u8]) -> bool {
    /// Five dashes that start at the first, second or third byte of a group.
    const DASHES: [&[u8]; 3] = [b"LS0tLS", b"0tLS0t", b"tLS0tL"];
    if DASHES.iter().any(|dashes| letters.starts_with(dashes)) {
        return true;
    }
    let mut bytes = [0; 6];
    if STANDARD.decode_slice(&letters[..8], &mut bytes).is_err() {
        return false;
    }
    matches!(
        bytes,
        // A SEQUENCE that starts with an INTEGER of one byte: the version of a private key or of
        // PKCS #12.
        [0x30, ..=0x80, 0x02, 1, ..]
            | [0x30, 0x81, _, 0x02, 1, _]
            | [0x30, 0x82, _, _, 0x02, 1]
            // A SEQUENCE that starts with a SEQUENCE: a certificate, or an encrypted or public key, in
            // which the inner one starts with an OBJECT IDENTIFIER.
            | [0x30, ..=0x7f, 0x30, ..=0x7f, 0x06, _]
            | [0x30, 0x81, _, 0x30, ..=0x7f, 0x06]
            | [0x30, 0x82, _, _, 0x30, _]
    ) || bytes == *b"openss"
}

/// Whether `text` is a JSON object or a list of them, such as a JWK, even if a shell has removed
/// the quotes. A template's `{{ name }}` is not.
fn is_json(text: &str) -> bool {
    let object = text.trim_start_matches(|c: char| c == '[' || c.is_whitespace());
    object.starts_with('{') && !object.starts_with("{{") && object.contains(':')
}

/// Whether `text` is a JWT or another JSON object in base64.
fn is_token(text: &str) -> bool {
    const MIN_BYTES: usize = 40;
    text.starts_with("eyJ") && text.len() >= MIN_BYTES
}

/// Trims blanks and quotes, also escaped ones, around `text`. Keeps line ends: no path has one.
fn unquoted(text: &str) -> &str {
    text.trim_matches(|c: char| {
        matches!(c, '"' | '\'' | '\\') || (c.is_whitespace() && !c.is_control())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Letters in place of a secret.
    const BODY: &str = "Kq7ZxW2v";

    /// Each kind of key and certificate, with the first letters of its base64.
    const KINDS: [(&str, &str); 16] = [
        ("PKCS #8, RSA", "MIIEvQIBADANBgkq"),
        ("PKCS #1", "MIIEowIBAAKCAQEA"),
        ("PKCS #8, P-256", "MIGHAgEAMBMGByqG"),
        ("PKCS #8, P-384", "MIG2AgEAMBAGByqG"),
        ("PKCS #8, P-521", "MIHuAgEAMBAGByqG"),
        ("PKCS #8, Ed25519", "MC4CAQAwBQYDK2Vw"),
        ("PKCS #8, Ed448", "MEcCAQAwBQYDK2Vx"),
        ("SEC 1, P-256", "MHcCAQEEIIkVnC3R"),
        ("SEC 1, P-384", "MIGkAgEBBDCHyO1l"),
        ("PKCS #8, encrypted, RSA", "MIIFLTBXBgkqhkiG"),
        ("PKCS #8, encrypted, P-256", "MIHsMFcGCSqGSIb3"),
        ("PKCS #12", "MIIJzwIBAzCCCYUG"),
        ("certificate, RSA", "MIIBszCCAVmgAwIB"),
        ("certificate, Ed25519", "MIIBLDCB36ADAgEC"),
        ("public key, P-256", "MFkwEwYHKoZIzj0C"),
        ("OpenSSH", "b3BlbnNzaC1rZXkt"),
    ];

    /// `key`, of several lines, as it is written where a path is expected.
    fn written(label: &str, lines: [&str; 3]) -> Vec<(&'static str, String)> {
        let (begin, end) = (
            format!("-----BEGIN {label}-----"),
            format!("-----END {label}-----"),
        );
        let plain = lines.concat();
        let broken = |by: &str| lines.join(by);
        vec![
            ("plain", plain.clone()),
            ("blanks", broken(" ")),
            ("tabs", broken("\t")),
            ("line ends", broken("\n")),
            ("escaped", broken("\\n")),
            ("escaped CRLF", broken("\\r\\n")),
            ("escaped twice", broken("\\\\n")),
            ("escaped at the end", broken("\\n") + "\\n"),
            ("escaped in front", format!("\\n{plain}")),
            ("percent", broken("%0A")),
            ("with its end", format!("{plain}{end}")),
            (
                "with its escaped end",
                format!("{}\\n{end}\\n", broken("\\n")),
            ),
            ("with its begin", format!("{begin}{plain}")),
            ("whole", format!("{begin}\\n{}\\n{end}", broken("\\n"))),
            ("comma", format!("{plain},")),
            ("semicolon", format!("{plain};")),
            ("brackets", format!("[{plain}]")),
            (
                "base64url",
                plain
                    .replace('+', "-")
                    .replace('/', "_")
                    .trim_end_matches('=')
                    .to_owned(),
            ),
            ("no padding", plain.trim_end_matches('=').to_owned()),
            ("half", plain[..plain.len() / 2].to_owned()),
            ("blank in front", format!(" {plain}")),
            ("tab in front", format!("\t{plain}")),
            ("double quotes", format!("\"{plain}\"")),
            ("single quotes", format!("'{plain}'")),
            ("open quote", format!("\"{plain}")),
            ("escaped quotes", format!("\\\"{plain}\\\"")),
            ("escaped slashes", plain.replace('/', "\\/")),
            ("file:", format!("file:{plain}")),
            ("file: and blank", format!(" file: '{plain}' ")),
            ("URL", format!("data:application/x-pem-file;base64,{plain}")),
            ("assignment", format!("KEY={plain}")),
            ("directory", format!("/etc/tls/{plain}")),
            ("JSON", format!("{{\"key\":\"{plain}\"}}")),
            ("dot in the middle", broken(".")),
        ]
    }

    #[test]
    fn keys_are_recognized_in_every_format() {
        for (kind, begin) in KINDS {
            // With both letters that base64url writes in another way.
            let lines = [
                &format!("{begin}{}", BODY.repeat(6)),
                &format!("+/{}", BODY.repeat(5)),
                "+/w==",
            ];
            for (shape, content) in written("PRIVATE KEY", lines) {
                assert!(is_content(&content), "{kind}, {shape}: {content}");
            }
        }
    }

    #[test]
    fn base64_of_pem_is_recognized_at_every_offset() {
        for before in ["", "\n", "\r\n", "\u{FEFF}", "{\"key\":\"", "a: "] {
            let pem = format!("{before}-----BEGIN PRIVATE KEY-----\n{BODY}");
            assert!(is_content(&STANDARD.encode(&pem)), "{before:?}");
        }
    }

    #[test]
    fn every_other_content_is_recognized() {
        let body = BODY.repeat(5);
        for content in [
            "-----BEGIN PRIVATE KEY----- MII",
            "MII=-----END PRIVATE KEY-----",
            "a\nb",
            "a\tb",
            &"a".repeat(256),
            &"a/".repeat(2048),
            &format!("{{\"kty\":\"EC\",\"d\":\"{body}\"}}"),
            &format!(" {{ \"kty\" : \"EC\", \"d\" : \"{body}\" }}"),
            &format!("{{\\\"kty\\\":\\\"EC\\\",\\\"d\\\":\\\"{body}\\\"}}"),
            &format!("'{{\"kty\":\"EC\",\"d\":\"{body}\"}}'"),
            &format!("{{kty:EC,d:{body}}}"),
            &format!("file:{{\"kty\":\"EC\",\"d\":\"{body}\"}}"),
            &format!("[{{\"kty\":\"EC\",\"d\":\"{body}\"}}]"),
            &format!("eyJhbGciOiJSUzI1NiJ9.{body}.{BODY}"),
            &format!("eyJrdHkiOiJFQyIsImQiOiI{body}"),
        ] {
            assert!(is_content(content), "{content}");
        }
    }

    #[test]
    fn a_path_is_not_content() {
        for path in [
            "/etc/tls.key",
            "MII",
            "ä b.pem",
            "C:\\x.pem",
            "C:\\tls\\new\\key.pem",
            " /etc/tls.key",
            "\"/etc/tls.key\"",
            "file:/etc/tls.key",
            &format!("MODELS/{}", "customers/".repeat(8)),
            "MIGRATION/certificates/production/eu-west-1/tls.key",
            "MAIN/certificates/production/eu-west-1/tls.key",
            "MAMC/certificates/production/eu-west-1/tls.key",
            "/var/lib/MIIS-keys/certificates/production/tls.key",
            "/etc/letsencrypt/live/api--customers--example/privkey.pem",
            "/nix/store/0c1m6gvhlhgsnhbnzmnprkxmcbhnzs3a-tls/key.pem",
            "/var/lib/kubelet/pods/6f1c0e0e-3b0c-4b3a-9a5e-6d1f0c9d2b7e/volumes/tls.key",
            "{{ .Values.key:path }}",
            "${TLS_KEY:-/etc/tls.key}",
            "keys/{eu,us}.key",
            "eyJ.key",
            &BODY.repeat(8),
        ] {
            assert!(!is_content(path), "{path}");
        }
    }
}
