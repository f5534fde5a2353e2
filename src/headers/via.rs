//! Pseudonym of this process in `Via` (RFC 9110 section 7.6.3): a request that comes back here is
//! recognized by it.
//!
//! It is random for each process, since two proxies in a chain on purpose, such as a sidecar before
//! a gateway, are no loop. The workers of a process share it, and a reload does not change it.

use std::sync::LazyLock;

use http::{HeaderValue, Version};

const PREFIX: &str = "gbg-proxy-";

static INSTANCE: LazyLock<Instance> = LazyLock::new(Instance::new);

/// The pseudonym, and the values of `Via` with it.
#[derive(Debug)]
struct Instance {
    name: String,
    /// Of HTTP/1.0, HTTP/1.1 and HTTP/2.
    via: [HeaderValue; 3],
}

impl Instance {
    fn new() -> Self {
        let name = format!("{PREFIX}{:016x}", fastrand::u64(..));
        let via = ["1.0", "1.1", "2"].map(|version| {
            // Leaked once in a process: its clones share no counter, which the workers would
            // contend for.
            HeaderValue::from_static(Box::leak(format!("{version} {name}").into_boxed_str()))
        });
        Instance { name, via }
    }
}

/// The `Via` of a message that was received in `version`.
pub(crate) fn header_value(version: Version) -> HeaderValue {
    let [http10, http11, http2] = &INSTANCE.via;
    match version {
        Version::HTTP_2 => http2.clone(),
        Version::HTTP_10 => http10.clone(),
        _ => http11.clone(),
    }
}

/// Whether a `Via` says that the message has been here before. Intermediaries may have joined
/// several into one.
pub(crate) fn names_this_process(via: &HeaderValue) -> bool {
    let name = INSTANCE.name.as_bytes();
    via.as_bytes()
        .windows(name.len())
        .any(|part| part.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_process_is_recognized() {
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
        let other = Instance::new();
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
    fn the_version_is_that_of_the_message() {
        let versions = [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2].map(header_value);
        let versions = versions
            .each_ref()
            .map(|via| via.to_str().unwrap().split_once(' ').unwrap().0);
        assert_eq!(versions, ["1.0", "1.1", "2"]);
    }
}
