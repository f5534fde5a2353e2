//! References to secrets: where a secret is kept, and how it is read from there.

use std::path::Path;

use serde::de::{Deserialize, Deserializer, Error as _};

use crate::config::error::Problem;
use crate::secret::{self, Environment, Kept, Secret, Source, exposed_mode};

/// A key that holds a secret, or what may be one: it says where the secret is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SecretRef(pub(crate) Source);

impl<'de> Deserialize<'de> for SecretRef {
    // By way of `Value`, since serde's own type errors quote the value, and this one may be a
    // secret.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = toml::Value::deserialize(deserializer).map_err(|_| {
            D::Error::custom("this value cannot be read (it is not shown: it may be a secret)")
        })?;
        value
            .as_str()
            .and_then(Source::parse)
            .map(SecretRef)
            .ok_or_else(|| {
                D::Error::custom(
                    "a secret does not stand in the configuration itself; \
                 write \"env:NAME\", \"file:PATH\" or \"credential:NAME\"",
                )
            })
    }
}

/// Where on this machine `source` is.
pub(crate) fn locate(
    key: &'static str,
    source: &Source,
    env: &Environment,
) -> Result<Kept, Problem> {
    source.locate(env).map_err(|error| {
        let hint = if key.starts_with("token.") {
            " (GBG shows id and secret once, in the portal's Clients tab)"
        } else {
            ""
        };
        let fix = match source {
            Source::Env(name) => format!(
                "set {name}, or write {key} as \"file:PATH\", \"credential:NAME\" or \"env:OTHER_NAME\"{hint}"
            ),
            Source::Credential(name) => format!("write LoadCredential={name}:PATH in the systemd unit"),
            Source::File(_) => String::new(),
        };
        Problem::new(key, error.to_string(), fix)
    })
}

pub(crate) fn read(key: &'static str, kept: &Kept) -> Result<Secret, Problem> {
    kept.read().map_err(|error| unreadable(key, kept, &error))
}

pub(crate) fn unreadable(key: &'static str, kept: &Kept, error: &secret::SecretError) -> Problem {
    let fix = match (error.fix(), kept.file()) {
        (Some(fix), _) => fix,
        (None, Some(_)) => "check the path, the permissions and the content of the file",
        (None, None) => "give the variable a value",
    };
    Problem::new(key, chain(error), fix)
}

/// Warns of what is odd in `text`, the value of `key`, without a part of it.
pub(crate) fn warn_of_text(key: &str, text: &str, warnings: &mut Vec<String>) {
    warnings.extend(secret::warnings(text).map(|warning| format!("{key}: the value {warning}")));
}

/// Warns where every user of this machine can read `file`, which `key` names and which holds a
/// secret.
pub(crate) fn warn_of_exposure(key: &str, file: &Path, warnings: &mut Vec<String>) {
    if let Some(mode) = exposed_mode(file) {
        let file = file.display();
        warnings.push(format!(
            "{key}: other users of this machine can read or replace {file} (mode {mode:04o}): chmod 0600 {file}, or 0640 with \
             the proxy's group; in Kubernetes, defaultMode: 0440 of the volume"
        ));
    }
}

/// `error` and what caused it.
fn chain(error: &dyn std::error::Error) -> String {
    let cause = error
        .source()
        .map(|cause| format!(": {cause}"))
        .unwrap_or_default();
    format!("{error}{cause}")
}
