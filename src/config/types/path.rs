//! Paths of the API: prefixes that are forwarded, and whole paths.

use crate::config::source::invalid::Invalid;
use crate::config::source::setting::TextSetting;

/// A path prefix that ends in `/`, compared byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPrefix(String);

impl PathPrefix {
    /// A prefix that is a constant of this crate.
    pub(crate) fn known(text: &'static str) -> Self {
        PathPrefix(text.to_owned())
    }

    /// The prefix as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns true if one of `prefixes` covers `path`.
    pub(crate) fn any_covers(prefixes: &[PathPrefix], path: &str) -> bool {
        prefixes.iter().any(|prefix| path.starts_with(&*prefix.0))
    }

    /// `prefixes` as a list to read; of many, the first.
    pub(crate) fn list(prefixes: &[PathPrefix]) -> String {
        const MAX_LISTED: usize = 5;
        let listed: Vec<_> = prefixes
            .iter()
            .map(PathPrefix::as_str)
            .take(MAX_LISTED)
            .collect();
        let more = if prefixes.len() > MAX_LISTED {
            ", …"
        } else {
            ""
        };
        listed.join(", ") + more
    }
}

impl TextSetting for PathPrefix {
    fn parse_text(text: &str) -> Result<Self, Invalid> {
        const FIX: &str = "write a path that begins and ends with \"/\", such as \"/v2/captain/\"";
        if is_plain_path(text) && text.ends_with('/') {
            return Ok(PathPrefix(text.to_owned()));
        }
        let slashed = format!("/{}/", text.trim_matches('/'));
        Err(Invalid::new("path prefix", "", FIX).suggest([slashed]))
    }

    fn to_text(&self) -> String {
        self.0.clone()
    }
}

/// A whole path, compared byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExactPath(String);

impl ExactPath {
    /// A path that is a constant of this crate.
    pub(crate) fn known(text: &'static str) -> Self {
        ExactPath(text.to_owned())
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TextSetting for ExactPath {
    fn parse_text(text: &str) -> Result<Self, Invalid> {
        if is_plain_path(text) && !text.ends_with('/') {
            return Ok(ExactPath(text.to_owned()));
        }
        let fix = "write a whole path, such as \"/v2/captain/journey/device/connect\"";
        Err(Invalid::new("path", "", fix))
    }

    fn to_text(&self) -> String {
        self.0.clone()
    }
}

/// Returns true if `text` is an absolute path that can be read in one way only.
fn is_plain_path(text: &str) -> bool {
    text.starts_with('/')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"?#%;\\".contains(&byte))
        && !text.contains("//")
        && !text.split('/').any(|segment| matches!(segment, "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_plain() {
        for bad in [
            "", "v2/", "/v2", "/a//", "/a/../", "/%2e/", "/a?b/", "/a b/",
        ] {
            assert!(PathPrefix::parse_text(bad).is_err(), "{bad}");
        }
        assert!(PathPrefix::parse_text("/").is_ok());
    }
}
