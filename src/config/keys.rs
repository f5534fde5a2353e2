//! Table of the keys, declared by the code that reads them.

use std::sync::LazyLock;

use super::read;
use super::source::findings::Findings;
use super::source::section::Reader;
use super::source::variable::{ENV_PREFIX, variable};
use crate::secret::Environment;

/// The path of each key, as `section.key`; those of a caller are `caller.key`.
static KEYS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let findings = Findings::default();
    let reader = Reader::declaring(&findings);
    read::read(&reader, &findings, &Environment::new());
    let paths = reader.into_keys();
    paths.iter().map(|path| pattern(path)).collect()
});

static SECTIONS: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let mut sections = Vec::new();
    for (section, _) in KEYS.iter().filter_map(|key| key.rsplit_once('.')) {
        if !sections.contains(&section) {
            sections.push(section);
        }
    }
    sections
});

/// The path of each key, as `section.key`; those of a caller are `caller.key`.
pub fn keys() -> &'static [String] {
    &KEYS
}

/// The sections, each before those below it.
pub(crate) fn sections() -> &'static [&'static str] {
    &SECTIONS
}

/// Returns true if the environment variable `name` sets a key.
pub fn is_key_variable(name: &str) -> bool {
    name.starts_with(ENV_PREFIX) && KEYS.iter().any(|key| variable(key) == name)
}

pub(crate) fn is_key(pattern: &str) -> bool {
    KEYS.iter().any(|key| key == pattern)
}

/// The path without the number of an entry: `caller.rate` of `caller[1].rate`.
pub(crate) fn pattern(path: &str) -> String {
    match path.split_once('[') {
        Some((list, rest)) => match rest.split_once(']') {
            Some((_, rest)) => format!("{list}{rest}"),
            None => path.to_owned(),
        },
        None => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readers_declare_every_key() {
        let keys = keys();
        for key in [
            "listen.address",
            "listen.tls.cert",
            "caller.rate",
            "drain.timeout",
        ] {
            assert!(keys.iter().any(|known| known == key), "{key}: {keys:?}");
        }
        assert_eq!(keys.len(), 93, "{keys:?}");
        assert!(sections().contains(&"listen.tls"));
        assert!(is_key_variable("GBG_PROXY_TOKEN_SCOPE"));
        assert!(!is_key_variable("GBG_PROXY_TOKEN_SCOP"));
    }
}
