//! Paths of files.

use std::path::PathBuf;

use super::caller_key;
use crate::config::source::invalid::Invalid;
use crate::config::source::setting::TextSetting;
use crate::secret::is_content;

impl TextSetting for PathBuf {
    // It may be the private key itself.
    const NEVER_QUOTE: bool = true;

    fn parse_text(text: &str) -> Result<Self, Invalid> {
        let invalid = |reason| Err(Invalid::new("path", reason, "write the path of a file"));
        match text {
            "" => Err(Invalid::new(
                "path",
                "it is empty",
                "write the path of a file, or remove the key",
            )),
            _ if is_content(text) => invalid("this is the content of a file (it is not shown)"),
            _ if text.contains("://") => invalid("this is a URL (it is not shown)"),
            _ if !text.contains(['/', '.']) && caller_key::is_random(text) => {
                invalid("this looks like a secret (it is not shown)")
            }
            _ if caller_key::is_in(text) => invalid("this is a caller's key (it is not shown)"),
            _ => Ok(text.into()),
        }
    }

    fn to_text(&self) -> String {
        self.display().to_string()
    }
}
