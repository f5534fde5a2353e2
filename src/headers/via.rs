//! Pseudonym of this process in `Via` (RFC 9110 section 7.6.3), which detects request loops.
//!
//! It is random for each process: two proxies in a chain, such as a sidecar and a gateway, are not
//! a loop. The workers of a process share it, and a reload does not change it.

use std::sync::LazyLock;

use http::{HeaderValue, Version};

const PREFIX: &str = "gbg-proxy-";

static PSEUDONYM: LazyLock<Pseudonym> = LazyLock::new(Pseudonym::new);

#[derive(Debug)]
struct Pseudonym {
    name: String,
    /// The field values for HTTP/1.0, HTTP/1.1 and HTTP/2.
    via: [HeaderValue; 3],
}

impl Pseudonym {
    fn new() -> Self {
        let name = format!("{PREFIX}{:016x}", fastrand::u64(..));
        let via = ["1.0", "1.1", "2"].map(|version| {
            // Leaked once per process: clones of an owned value share a reference count, which the
            // workers would contend for.
            HeaderValue::from_static(Box::leak(format!("{version} {name}").into_boxed_str()))
        });
        Pseudonym { name, via }
    }
}

/// The `Via` value of a message that was received in `version`.
pub(crate) fn header_value(version: Version) -> HeaderValue {
    let [http10, http11, http2] = &PSEUDONYM.via;
    match version {
        Version::HTTP_2 => http2.clone(),
        Version::HTTP_10 => http10.clone(),
        _ => http11.clone(),
    }
}

/// Whether `via` shows that the message has passed this process. Intermediaries may have joined
/// several fields into one.
pub(crate) fn names_this_process(via: &HeaderValue) -> bool {
    let name = PSEUDONYM.name.as_bytes();
    via.as_bytes()
        .windows(name.len())
        .any(|part| part.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_process_is_detected() {
        let own = header_value(Version::HTTP_11);
        let text = own.to_str().unwrap().to_owned();
        assert!(text.starts_with("1.1 gbg-proxy-"), "{text}");
        for via in [
            &text,
            &format!("1.1 vegur, {text} (a, b), 2 edge"),
            &text.to_uppercase(),
        ] {
            assert!(
                names_this_process(&HeaderValue::try_from(via).unwrap()),
                "{via}"
            );
        }
        let other = Pseudonym::new();
        for via in [
            "1.1 gbg-proxy",
            "1.1 gbg-proxy-",
            "",
            other.via[1].to_str().unwrap(),
        ] {
            assert!(
                !names_this_process(&HeaderValue::try_from(via).unwrap()),
                "{via}"
            );
        }
    }

    #[test]
    fn the_value_has_the_version_of_the_message() {
        let versions = [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2].map(header_value);
        let versions = versions
            .each_ref()
            .map(|via| via.to_str().unwrap().split_once(' ').unwrap().0);
        assert_eq!(versions, ["1.0", "1.1", "2"]);
    }
}
