//! References to secrets: where a secret is kept, and how it is read from there.

use std::path::Path;

use crate::config::error::Problem;
use crate::config::source::invalid::Invalid;
use crate::config::source::setting::TextSetting;
use crate::secret::{self, Kept, Secret, SecretError, Source, exposed_mode};

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

pub(crate) fn read(key: &'static str, kept: &Kept) -> Result<Secret, Problem> {
    kept.read().map_err(|error| unreadable(key, kept, &error))
}

pub(crate) fn unreadable(key: &'static str, kept: &Kept, error: &SecretError) -> Problem {
    let fix = match (error, kept.source()) {
        (SecretError::NotSet(_), Source::Env(name)) => {
            let hint = if key.starts_with("token.") {
                " (the ID is on the Clients tab of GBG's portal; GBG shows the secret once, when you create the API client)"
            } else {
                ""
            };
            format!(
                "set {name}, or write {key} as \"file:PATH\", \"credential:NAME\" or \"env:OTHER_NAME\"{hint}"
            )
        }
        (SecretError::NoCredentials, Source::Credential(name)) => {
            format!("write LoadCredential={name}:PATH in the systemd unit")
        }
        _ => error.fix().map_or_else(|| default_fix(kept), str::to_owned),
    };
    let problem = Problem::new(key, chain(error), fix);
    if error.is_absence() {
        problem.of_absent(kept.source().clone())
    } else {
        problem
    }
}

fn default_fix(kept: &Kept) -> String {
    let fix = match kept.file() {
        Some(_) => "check the path, the permissions and the content of the file",
        None => "give the variable a value",
    };
    fix.to_owned()
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
