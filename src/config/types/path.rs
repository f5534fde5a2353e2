//! Paths of the API: prefixes that are forwarded, and whole paths.

/// A path prefix that ends in `/`, compared byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "String")]
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
}

impl TryFrom<String> for PathPrefix {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if is_plain_path(&text) && text.ends_with('/') {
            Ok(PathPrefix(text))
        } else {
            Err("no path prefix; it begins and ends with \"/\", such as \"/v2/captain/\"")
        }
    }
}

/// A whole path, compared byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "String")]
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

impl TryFrom<String> for ExactPath {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if is_plain_path(&text) && !text.ends_with('/') {
            Ok(ExactPath(text))
        } else {
            Err(
                "no whole path; it begins with \"/\", such as \"/v2/captain/journey/device/connect\"",
            )
        }
    }
}

/// Whether `text` is an absolute path that can be read in one way only.
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
            assert!(PathPrefix::try_from(bad.to_owned()).is_err(), "{bad}");
        }
        assert!(PathPrefix::try_from("/".to_owned()).is_ok());
    }
}
