//! References to secrets: where a secret is kept, and how it is read from there.

use std::path::Path;

use crate::config::error::Problem;
use crate::config::source::invalid::Invalid;
use crate::config::source::setting::TextSetting;
use crate::secret::{self, Environment, Kept, Secret, Source, exposed_mode};

/// A key of a secret: it says where the secret is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SecretRef(pub(crate) Source);

impl TextSetting for SecretRef {
    // It may be the secret itself.
    const NEVER_QUOTE: bool = true;

    fn parse_text(text: &str) -> Result<Self, Invalid> {
        let invalid = |reason| {
            let fix = "write \"env:NAME\", \"file:PATH\" or \"credential:NAME\"";
            Invalid::new("reference", reason, fix)
        };
        match Source::parse(text) {
            Some(source) if has_blank(&source) => {
                Err(invalid("the name begins or ends with a space"))
            }
            Some(source) => Ok(SecretRef(source)),
            None if Source::is_begun(text) => Err(invalid("it names no variable or file")),
            None => Err(invalid("a secret does not belong in the configuration")),
        }
    }

    fn to_text(&self) -> String {
        self.0.to_string()
    }
}

/// Returns true for `env: NAME`, which a person writes as in YAML.
pub(crate) fn has_blank(source: &Source) -> bool {
    let text = source.to_string();
    let name = text.split_once(':').map_or("", |(_, name)| name);
    name.trim() != name
}

/// Finds `source` on this machine.
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

/// Warnings about the form of `text`, the value of `key`, without a part of it.
pub(crate) fn form_warnings(key: &str, text: &str) -> Vec<String> {
    secret::warnings(text)
        .map(|warning| format!("{key}: the value {warning}"))
        .collect()
}

/// A warning if every user of this machine can read `file`, which `key` names and which holds a
/// secret.
pub(crate) fn exposure_warning(key: &str, file: &Path) -> Option<String> {
    let mode = exposed_mode(file)?;
    let file = file.display();
    Some(format!(
        "{key}: other users of this machine can read or replace {file} (mode {mode:04o}): chmod 0600 {file}, or 0640 with \
         the proxy's group; in Kubernetes, defaultMode: 0440 of the volume"
    ))
}

/// `error` and what caused it.
fn chain(error: &dyn std::error::Error) -> String {
    let cause = error
        .source()
        .map(|cause| format!(": {cause}"))
        .unwrap_or_default();
    format!("{error}{cause}")
}
