//! Table of the keys, declared by the code that reads them.

use std::sync::LazyLock;

use super::read;
use super::source::findings::Findings;
use super::source::section::Reader;
use super::source::setting::Kind;
use super::source::variable::{ENV_PREFIX, variable};
use crate::secret::Environment;

/// The section of which there may be several.
pub(crate) const LIST: &str = "caller";

/// A key that the configuration has.
pub(crate) struct ConfigKey {
    /// `section.key`; those of a caller are `caller.key`.
    pub(crate) path: String,
    pub(crate) kind: Kind,
}

pub(crate) static KEYS: LazyLock<Vec<ConfigKey>> = LazyLock::new(|| {
    let findings = Findings::default();
    let reader = Reader::declaring(&findings);
    read::read(&reader, &findings, &Environment::new());
    let keys = reader.into_keys().into_iter();
    keys.map(|(path, kind)| ConfigKey {
        path: pattern(&path),
        kind,
    })
    .collect()
});

static PATHS: LazyLock<Vec<String>> =
    LazyLock::new(|| KEYS.iter().map(|key| key.path.clone()).collect());

static SECTIONS: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let mut sections = Vec::new();
    for (section, _) in PATHS.iter().filter_map(|path| path.rsplit_once('.')) {
        if !sections.contains(&section) {
            sections.push(section);
        }
    }
    sections
});

/// The path of each key, as `section.key`; those of a caller are `caller.key`.
pub fn keys() -> &'static [String] {
    &PATHS
}

/// The sections, each before those below it.
pub(crate) fn sections() -> &'static [&'static str] {
    &SECTIONS
}

/// Returns true if the environment variable `name` sets a key.
pub fn is_key_variable(name: &str) -> bool {
    name.starts_with(ENV_PREFIX) && PATHS.iter().any(|path| variable(path) == name)
}

pub(crate) fn is_key(pattern: &str) -> bool {
    PATHS.iter().any(|path| path == pattern)
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
        assert_eq!(keys.len(), 94, "{keys:?}");
        assert!(sections().contains(&"listen.tls"));
        assert!(is_key_variable("GBG_PROXY_TOKEN_SCOPE"));
        assert!(!is_key_variable("GBG_PROXY_TOKEN_SCOP"));
    }
}
