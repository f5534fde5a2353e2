//! Settings of the measured proxy: the bare minimum, or callers, limits and a log as in production.

use std::path::{Path, PathBuf};

use gbg_proxy::config;

/// Of the form that keys have; it opens nothing.
const KEY: &str = "gbgp_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8l4rjr-";

/// How the proxy is set.
#[derive(Clone, Copy)]
pub enum Setting {
    /// Neither callers nor access log.
    Bare,
    /// A caller with a key, a rate and a bound, and the access log in a file.
    Full,
}

impl Setting {
    pub const ALL: [Setting; 2] = [Setting::Bare, Setting::Full];

    pub fn name(self) -> &'static str {
        match self {
            Setting::Bare => "bare",
            Setting::Full => "full",
        }
    }

    /// What a caller has to show.
    pub fn key(self) -> Option<&'static str> {
        match self {
            Setting::Bare => None,
            Setting::Full => Some(KEY),
        }
    }

    /// The values of `--set`, before an upstream at `base_url` that logs to `log`.
    pub fn values(self, base_url: &str, token_endpoint: &str, log: &Path) -> Vec<String> {
        vec![
            "listen.address=127.0.0.1:0".to_owned(),
            "listen.workers=1".to_owned(),
            "admin.address=off".to_owned(),
            "token.client_id=bench".to_owned(),
            format!("upstream.base_url={base_url}"),
            format!("token.endpoint={token_endpoint}"),
            format!("log.access={}", matches!(self, Setting::Full)),
            format!("log.file={}", log.display()),
        ]
    }

    /// The configuration file, in `directory`: callers stand in one alone.
    pub fn file(self, directory: &Path) -> PathBuf {
        let digest = config::key_digest(KEY.as_bytes()).expect("a key");
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let bounds = "rate = \"1000000/s\"\nmax_in_flight = 64";
        let text = match self {
            Setting::Bare => String::new(),
            Setting::Full => {
                format!("[[caller]]\nname = \"bench\"\nkey_sha256 = \"{digest}\"\n{bounds}\n")
            }
        };
        let path = directory.join(format!("{}.toml", self.name()));
        std::fs::write(&path, text).expect("a configuration");
        path
    }
}
