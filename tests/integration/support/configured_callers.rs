//! Callers with keys, and the configuration file that defines them.

use gbg_proxy::config;
use http::header::{HeaderName, HeaderValue};
use tempfile::NamedTempFile;

pub struct KeyedCaller {
    pub name: &'static str,
    pub key: String,
    /// Further lines of the table.
    pub lines: &'static str,
}

impl KeyedCaller {
    pub fn new(name: &'static str, lines: &'static str) -> Self {
        KeyedCaller {
            name,
            key: config::new_key().unwrap().expose().to_owned(),
            lines,
        }
    }

    /// The `[[caller]]` table.
    pub fn table(&self) -> String {
        let digest = config::key_digest(self.key.as_bytes()).unwrap();
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        format!(
            "[[caller]]\nname = \"{}\"\nkey_sha256 = \"{digest}\"\n{}\n",
            self.name, self.lines
        )
    }

    /// The header field `name` with the key, after `scheme`.
    pub fn key_field(&self, name: &'static str, scheme: &str) -> (HeaderName, HeaderValue) {
        let value = match scheme {
            "Basic" => format!("Basic {}", base64(&format!("anyone:{}", self.key))),
            "" => self.key.clone(),
            scheme => format!("{scheme} {}", self.key),
        };
        (
            HeaderName::from_static(name),
            HeaderValue::try_from(value).unwrap(),
        )
    }
}

/// A temporary configuration file of `tables`.
pub fn config_file(tables: &[String]) -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), tables.concat()).unwrap();
    file
}

pub fn base64(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(text)
}
