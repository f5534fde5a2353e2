//! Table of the keys, declared by the code that reads them.

use std::sync::LazyLock;

use super::read;
use super::source::findings::Findings;
use super::source::section::Reader;
use super::source::variable::{ENV_PREFIX, variable};
use crate::secret::Environment;

/// Every key; those of a caller are `caller[0].key` here.
static KEYS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let findings = Findings::default();
    let reader = Reader::declaring(&findings);
    read::read(&reader, &findings, &Environment::new());
    reader.into_keys()
});

/// The path of each key, as `section.key`; those of a caller are `caller.key`.
pub fn keys() -> Vec<String> {
    KEYS.iter().map(|key| pattern(key)).collect()
}

/// Returns true if the environment variable `name` sets a key.
pub fn is_key_variable(name: &str) -> bool {
    name.starts_with(ENV_PREFIX) && KEYS.iter().any(|key| variable(key) == name)
}

pub(crate) fn is_key(pattern: &str) -> bool {
    keys().iter().any(|key| key == pattern)
}

/// The sections, each before those below it.
pub(crate) fn sections() -> Vec<String> {
    let mut sections: Vec<String> = Vec::new();
    for key in keys() {
        if let Some((section, _)) = key.rsplit_once('.')
            && !sections.iter().any(|known| known == section)
        {
            sections.push(section.to_owned());
        }
    }
    sections
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
        assert!(sections().iter().any(|section| section == "listen.tls"));
        assert!(is_key_variable("GBG_PROXY_TOKEN_SCOPE"));
        assert!(!is_key_variable("GBG_PROXY_TOKEN_SCOP"));
    }
}
