//! Request methods.

use http::Method;

use crate::config::source::invalid::Invalid;
use crate::config::source::setting::TextSetting;

impl TextSetting for Method {
    fn parse_text(text: &str) -> Result<Self, Invalid> {
        let fix = "write names in capitals, such as \"GET\" or \"POST\"";
        match Method::from_bytes(text.as_bytes()) {
            Ok(Method::CONNECT | Method::TRACE) => Err(Invalid::new(
                "method",
                "CONNECT and TRACE are never forwarded",
                "remove it",
            )),
            // "get" is another method than GET (RFC 9110 section 9.1), which the API does not have.
            Ok(method) if method.as_str().contains(|c: char| c.is_ascii_lowercase()) => {
                let invalid = Invalid::new("method", "methods are case-sensitive", fix);
                Err(invalid.suggest([text.to_uppercase()]))
            }
            Ok(method) => Ok(method),
            Err(_) => Err(Invalid::new("method", "", fix)),
        }
    }

    fn to_text(&self) -> String {
        self.to_string()
    }
}
