//! Lists of request methods.

use http::Method;
use serde::de::{Deserialize, Deserializer, Error as _};

/// Methods; CONNECT and TRACE are never forwarded.
pub(crate) fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Method>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let method = |text: String| match Method::from_bytes(text.as_bytes()) {
        Ok(Method::CONNECT | Method::TRACE) => {
            Err(D::Error::custom("CONNECT and TRACE are never forwarded"))
        }
        // "get" is another method than GET (RFC 9110 section 9.1), and none that the API has.
        Ok(method)
            if method
                .as_str()
                .bytes()
                .any(|byte| byte.is_ascii_lowercase()) =>
        {
            Err(D::Error::custom(
                "methods are written in capitals, such as \"GET\" or \"POST\"",
            ))
        }
        Ok(method) => Ok(method),
        Err(_) => Err(D::Error::custom(
            "no method; write names such as \"GET\" or \"POST\"",
        )),
    };
    texts.into_iter().map(method).collect()
}
