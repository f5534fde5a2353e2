//! The names by which callers may speak of us: what a Host field may say besides our own address.

use std::net::IpAddr;

use serde::de::{Deserialize, Deserializer, Error as _};
use url::Host;

const NO_HOST: &str = "no host; write a name (\"gbg.internal\"), a suffix with its dot (\".corp.example\"), an address \
                       (\"10.0.0.5\", \"::1\"), or \"*\" for any";

/// Names in lower case and addresses without brackets, as they are compared with Host fields.
pub(super) fn hosts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts
        .iter()
        .map(|text| host(text).map_err(D::Error::custom))
        .collect()
}

fn host(text: &str) -> Result<String, &'static str> {
    if text == "*" {
        return Ok(text.to_owned());
    }
    if text.contains('*') {
        return Err(
            "\"*\" stands alone, for any host; for all names that end in one write its dot first, such as \
                    \".corp.example\"",
        );
    }
    if text.contains("://") {
        return Err("a Host field has no scheme; write the host alone, such as \"gbg.internal\"");
    }
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    if let Ok(addr) = bare.parse::<IpAddr>() {
        return match addr {
            IpAddr::V4(_) if bare != text => Err(NO_HOST),
            addr => Ok(addr.to_string()),
        };
    }
    if let Some((_, port)) = text.rsplit_once(':')
        && port.bytes().all(|byte| byte.is_ascii_digit())
    {
        return Err(
            "hosts are compared without the port; write the host alone, such as \"gbg.internal\"",
        );
    }
    let name = text.strip_prefix('.').unwrap_or(text);
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_plain = |name: &str| {
        name.split('.').all(|label| !label.is_empty())
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
    };
    match Host::parse(name) {
        Ok(Host::Domain(name)) if is_plain(&name) => Ok(if text.starts_with('.') {
            format!(".{name}")
        } else {
            name
        }),
        _ => Err(NO_HOST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_put_as_it_is_compared() {
        for (written, compared) in [
            ("GBG.Internal", "gbg.internal"),
            ("gbg.internal.", "gbg.internal"),
            (".Corp.example", ".corp.example"),
            ("gbg_proxy", "gbg_proxy"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("10.0.0.5", "10.0.0.5"),
            ("[::1]", "::1"),
            ("2001:DB8:0::1", "2001:db8::1"),
            ("*", "*"),
        ] {
            assert_eq!(host(written).as_deref(), Ok(compared), "{written}");
        }
    }

    #[test]
    fn what_no_host_field_would_equal_is_refused_with_what_to_write() {
        for (bad, mend) in [
            ("gbg.internal:8080", "without the port"),
            ("10.0.0.5:80", "without the port"),
            ("[::1]:80", "without the port"),
            ("gbg.internal:", "without the port"),
            ("https://gbg.internal", "no scheme"),
            ("*.corp.example", "its dot first"),
            ("", "no host"),
            (".", "no host"),
            ("..example", "no host"),
            ("a..example", "no host"),
            (".10.0.0.5", "no host"),
            ("[10.0.0.5]", "no host"),
            ("10.0.0.0/8", "no host"),
            ("0x7f.1", "no host"),
            ("a/b", "no host"),
            ("a b", "no host"),
            ("a,b", "no host"),
            ("user@a", "no host"),
        ] {
            let error = host(bad).unwrap_err();
            assert!(error.contains(mend), "{bad}: {error}");
        }
    }
}
