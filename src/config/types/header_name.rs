//! Names of header fields.

use http::HeaderName;

use crate::config::source::invalid::Invalid;
use crate::config::source::setting::TextSetting;

impl TextSetting for HeaderName {
    fn parse_text(text: &str) -> Result<Self, Invalid> {
        // In any case: names are case-insensitive (RFC 9110 section 5.1).
        HeaderName::from_bytes(text.as_bytes()).map_err(|_| {
            let fix = "write the name alone, such as \"x-gbg-scenario\"";
            let name = text.split_once(':').map(|(name, _)| name.trim());
            Invalid::new("header field", "", fix).suggest(name.filter(|name| !name.is_empty()))
        })
    }

    fn to_text(&self) -> String {
        self.to_string()
    }
}
