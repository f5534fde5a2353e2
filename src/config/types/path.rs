//! Paths of the API: prefixes that are forwarded, and templates.

use crate::config::source::invalid::Invalid;
use crate::config::source::setting::TextSetting;
use crate::gbg::template;

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

/// A template of paths: `{variable}` stands for one segment, a last segment `*` for one or more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathTemplate(String);

impl PathTemplate {
    /// The template as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns true if the template matches the whole of `path`.
    pub(crate) fn matches(&self, path: &str) -> bool {
        template::matches(&self.0, path)
    }

    /// Returns true if the template matches a path below one of `prefixes`.
    pub(crate) fn can_match(&self, prefixes: &[PathPrefix]) -> bool {
        let mut prefixes = prefixes.iter();
        prefixes.any(|prefix| template::can_match_below(&self.0, &prefix.0))
    }
}

impl TextSetting for PathTemplate {
    fn parse_text(text: &str) -> Result<Self, Invalid> {
        const EXAMPLE: &str = "/v2/captain/journey/interaction/*";
        let invalid = |reason| {
            let fix = format!("write a path, such as {EXAMPLE:?}");
            Invalid::new("path", reason, fix)
        };
        if !is_plain_path(text) {
            return Err(invalid(""));
        }
        if let Some(bare) = text.strip_suffix('/') {
            let suggestions = [format!("{bare}/*")];
            return Err(
                invalid("it is a prefix; a path does not end in \"/\"").suggest(suggestions)
            );
        }
        let parts = text.split('/');
        let last = parts.clone().count() - 1;
        for (index, part) in parts.enumerate() {
            if !part.contains(['{', '}', '*']) || (part == "*" && index == last) {
                continue;
            }
            if part.contains('*') {
                return Err(invalid(
                    "\"*\" is the whole last segment; for one segment write a {variable}",
                ));
            }
            let name = template::variable(part).unwrap_or_default();
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
                return Err(invalid(
                    "a {variable} is a whole segment, of letters and digits",
                ));
            }
        }
        Ok(PathTemplate(text.to_owned()))
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

    #[test]
    fn marks_of_a_template_are_whole_segments() {
        for good in ["/a", "/a/{id}/b", "/a/*", "/a/{id}/*"] {
            assert!(PathTemplate::parse_text(good).is_ok(), "{good}");
        }
        for bad in [
            "a",
            "/a/",
            "/a/*/b",
            "/a*",
            "/a/{id",
            "/a/x{id}",
            "/a/{}",
            "/a/{a-b}",
            "/a/{{id}}",
        ] {
            assert!(PathTemplate::parse_text(bad).is_err(), "{bad}");
        }
    }
}
