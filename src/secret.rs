//! Secret that cannot be printed, and the source that it is read from.

mod content;
mod exposure;
mod form;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::{Zeroize, Zeroizing};

pub use self::content::{holds_encoded_key, holds_key, is_content};
pub use self::exposure::exposed_mode;
use self::form::{NOT_UTF_8, UTF_16};
pub use self::form::{Refusal, one_line, warnings};

/// The environment at the start of the process; a map, so that a test can replace it.
pub type Environment = BTreeMap<String, String>;

/// Longer files are refused: the longest file with a secret is a chain of certificates.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// A secret text. It has no `Display`, and its `Debug` is `[redacted]`. Clones share one memory,
/// which is zeroed when the last of them is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<Zeroizing<String>>);

impl Secret {
    /// Takes over `text`, and zeroes it when the last clone is dropped.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(Arc::new(Zeroizing::new(text.into())))
    }

    /// Returns the text. A secret can leak at each call, so keep the calls few.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Reference to a secret: `env:NAME`, `file:PATH` or `credential:NAME` (systemd's
/// `LoadCredential=`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// An environment variable.
    Env(String),
    /// A file.
    File(PathBuf),
    /// A file in the directory that `$CREDENTIALS_DIRECTORY` names.
    Credential(String),
}

impl Source {
    /// Parses a reference; `None` for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, name) = text.split_once(':')?;
        if is_content(name) {
            return None;
        }
        let plain = !name.is_empty() && !name.contains(['/', '\0']);
        match kind {
            // No stranger names are used, but secrets are written in their place.
            "env" if plain && name.bytes().all(is_plain_in_variable) => {
                Some(Source::Env(name.to_owned()))
            }
            "file" if !name.is_empty() && !name.contains("://") => Some(Source::File(name.into())),
            "credential" if plain && name != ".." => Some(Source::Credential(name.to_owned())),
            _ => None,
        }
    }

    /// Whether `text` begins like a reference, valid or not.
    pub fn is_begun(text: &str) -> bool {
        ["env:", "file:", "credential:"]
            .iter()
            .any(|kind| text.starts_with(kind))
    }

    /// Resolves the reference on this machine. Reads a variable now, because the environment does not
    /// change; a file is read later.
    pub fn locate(self, env: &Environment) -> Kept {
        let place = match &self {
            Source::Env(name) => env
                .get(name)
                .map(|text| SecretLocation::Environment(Secret::new(text.as_str()))),
            Source::File(path) => Some(SecretLocation::File(path.clone())),
            Source::Credential(name) => env
                .get("CREDENTIALS_DIRECTORY")
                .map(|directory| SecretLocation::File(Path::new(directory).join(name))),
        };
        Kept {
            source: self,
            place,
        }
    }
}

fn is_plain_in_variable(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b" _.-".contains(&byte)
}

/// A resolved reference. The secret in a file may change at any time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    source: Source,
    /// `None` if the variable is not set, or there is no directory of credentials.
    place: Option<SecretLocation>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum SecretLocation {
    Environment(Secret),
    File(PathBuf),
}

impl Kept {
    /// The reference.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Reads the current secret: one line, without its line end.
    ///
    /// # Errors
    /// When it cannot be read, is empty, or has control characters.
    pub fn read(&self) -> Result<Secret, SecretError> {
        let secret = self.read_lines()?;
        let unusable = |refusal| SecretError::Unusable {
            place: self.source.clone(),
            refusal,
        };
        match one_line(secret.expose()).map_err(unusable)? {
            line if line.trim().is_empty() => Err(SecretError::Empty(self.source.clone())),
            line if line.len() == secret.expose().len() => Ok(secret),
            line => Ok(Secret::new(line)),
        }
    }

    /// Reads a secret that may have several lines, such as a key in PEM.
    ///
    /// # Errors
    /// When it cannot be read, is not UTF-8, or is empty.
    pub fn read_lines(&self) -> Result<Secret, SecretError> {
        let secret = match &self.place {
            Some(SecretLocation::Environment(secret)) => secret.clone(),
            Some(SecretLocation::File(path)) => self.read_file(path)?,
            None => {
                return Err(match &self.source {
                    Source::Env(name) => SecretError::NotSet(name.clone()),
                    Source::File(_) | Source::Credential(_) => SecretError::NoCredentials,
                });
            }
        };
        if secret.expose().trim().is_empty() {
            return Err(SecretError::Empty(self.source.clone()));
        }
        Ok(secret)
    }

    fn read_file(&self, path: &Path) -> Result<Secret, SecretError> {
        let mut bytes = read_bytes(path).map_err(|source| SecretError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        let is_utf_16 = bytes.starts_with(b"\xFF\xFE") || bytes.starts_with(b"\xFE\xFF");
        match String::from_utf8(std::mem::take(&mut *bytes)) {
            Ok(text) => Ok(Secret(Arc::new(Zeroizing::new(text)))),
            Err(error) => {
                error.into_bytes().zeroize();
                let refusal = if is_utf_16 { UTF_16 } else { NOT_UTF_8 };
                Err(SecretError::Unusable {
                    place: self.source.clone(),
                    refusal,
                })
            }
        }
    }

    /// The file of the secret; `None` for a variable.
    pub fn file(&self) -> Option<&Path> {
        match &self.place {
            Some(SecretLocation::File(path)) => Some(path),
            Some(SecretLocation::Environment(_)) | None => None,
        }
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Env(name) => write!(f, "env:{name}"),
            Source::File(path) => write!(f, "file:{}", path.display()),
            Source::Credential(name) => write!(f, "credential:{name}"),
        }
    }
}

/// Error of reading a secret. Never holds the secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The variable does not exist.
    #[error("the environment variable {0} is not set")]
    NotSet(String),
    /// `credential:` outside systemd.
    #[error("CREDENTIALS_DIRECTORY is not set: systemd sets it for a unit with LoadCredential=")]
    NoCredentials,
    /// The file cannot be read.
    #[error("cannot read {}", absolute(path).display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: std::io::Error,
    },
    /// The variable or file has no content.
    #[error("{0} is empty")]
    Empty(Source),
    /// The content cannot be a secret.
    #[error("{place} {}", refusal.cause)]
    Unusable {
        /// The variable or file.
        place: Source,
        /// The reason, with its fix.
        refusal: Refusal,
    },
}

impl SecretError {
    /// Whether this process has no access to the secret, which another one may have.
    pub fn is_absence(&self) -> bool {
        match self {
            SecretError::NotSet(_) | SecretError::NoCredentials => true,
            SecretError::Unreadable { source, .. } => is_absence(source),
            SecretError::Empty(_) | SecretError::Unusable { .. } => false,
        }
    }

    /// The fix, if it depends on the content.
    pub fn fix(&self) -> Option<&'static str> {
        match self {
            SecretError::Unusable { refusal, .. } => Some(refusal.fix),
            _ => None,
        }
    }
}

/// `path` from the root, for messages: it may count from another directory than its reader thinks.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Whether a file that cannot be read does not exist for this process, or only for this user.
pub fn is_absence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
    )
}

/// Reads a file. Refuses anything but a regular file: a read of a pipe or a device may never end.
///
/// # Errors
/// When it cannot be read, is not a regular file, or is longer than 1 MiB.
pub fn read_bytes(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let found = std::fs::metadata(path)?;
    if !found.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is not a regular file",
        ));
    }
    // The full capacity from the start: a reallocation would leave a copy that is not zeroed.
    let room = usize::try_from(found.len().min(MAX_FILE_BYTES)).unwrap_or_default() + 64;
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    File::open(path)?
        .take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "it is longer than 1 MiB",
        ));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
