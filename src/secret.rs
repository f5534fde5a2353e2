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
    ///
    /// # Errors
    /// When the variable is not set, or there is no directory of credentials.
    pub fn locate(&self, env: &Environment) -> Result<Kept, SecretError> {
        let place = match self {
            Source::Env(name) => SecretLocation::Environment(Secret::new(
                env.get(name)
                    .ok_or_else(|| SecretError::NotSet(name.clone()))?
                    .as_str(),
            )),
            Source::File(path) => SecretLocation::File(path.clone()),
            Source::Credential(name) => {
                let directory = env
                    .get("CREDENTIALS_DIRECTORY")
                    .ok_or(SecretError::NoCredentials)?;
                SecretLocation::File(Path::new(directory).join(name))
            }
        };
        Ok(Kept {
            source: self.clone(),
            place,
        })
    }
}

fn is_plain_in_variable(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b" _.-".contains(&byte)
}

/// A resolved reference. The secret in a file may change at any time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    source: Source,
    place: SecretLocation,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum SecretLocation {
    Environment(Secret),
    File(PathBuf),
}

impl Kept {
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
            SecretLocation::Environment(secret) => secret.clone(),
            SecretLocation::File(path) => self.read_file(path)?,
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
            SecretLocation::Environment(_) => None,
            SecretLocation::File(path) => Some(path),
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
    #[error("cannot read {}", path.display())]
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
    /// The fix, if it depends on the content.
    pub fn fix(&self) -> Option<&'static str> {
        match self {
            SecretError::Unusable { refusal, .. } => Some(refusal.fix),
            _ => None,
        }
    }
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
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_printed() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "[redacted]");
    }

    #[test]
    fn three_sources_are_parsed_and_plaintext_is_rejected() {
        assert_eq!(Source::parse("env:A"), Some(Source::Env("A".into())));
        assert_eq!(
            Source::parse("file:/run/s"),
            Some(Source::File("/run/s".into()))
        );
        assert_eq!(
            Source::parse("credential:s"),
            Some(Source::Credential("s".into()))
        );
        for text in [
            "hunter2",
            "env:",
            "file:",
            "credential:../etc",
            "credential:..",
            "http://x",
            "env:A=B",
        ] {
            assert_eq!(Source::parse(text), None, "{text}");
        }
        for kind in ["env", "file", "credential"] {
            for content in [
                "-----BEGIN PRIVATE KEY-----",
                "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0w",
            ] {
                assert_eq!(
                    Source::parse(&format!("{kind}:{content}")),
                    None,
                    "{kind} {content}"
                );
            }
        }
    }

    #[test]
    fn every_source_trims_the_trailing_line_end() {
        let directory = tempfile::tempdir().unwrap();
        let env = [
            ("CREDENTIALS_DIRECTORY", directory.path().to_str().unwrap()),
            ("A", "hunter2\r\n"),
            ("B", " \n"),
            ("C", "hunter2\nx"),
        ];
        let env: Environment = env
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        std::fs::write(directory.path().join("a"), "hunter2\r\n").unwrap();
        std::fs::write(directory.path().join("b"), "\n").unwrap();
        std::fs::write(directory.path().join("c"), "hunter2\0").unwrap();
        std::fs::write(directory.path().join("d"), b"\xFF\xFEh\0").unwrap();
        std::fs::write(directory.path().join("e"), b"hunter\xE9").unwrap();
        let read = |source: Source| source.locate(&env)?.read();
        let file = |name: &str| read(Source::Credential(name.into()));
        let variable = |name: &str| read(Source::Env(name.into()));
        assert_eq!(file("a").unwrap().expose(), "hunter2");
        assert_eq!(variable("A").unwrap().expose(), "hunter2");
        assert!(matches!(file("b"), Err(SecretError::Empty(_))));
        assert!(matches!(variable("B"), Err(SecretError::Empty(_))));
        assert!(matches!(variable("X"), Err(SecretError::NotSet(_))));
        for (refused, text) in [
            (file("c"), "credential:c contains a control character"),
            (file("d"), "credential:d is UTF-16 text"),
            (file("e"), "credential:e is not UTF-8 text"),
            (variable("C"), "env:C has more than one line"),
        ] {
            assert_eq!(refused.unwrap_err().to_string(), text);
        }
    }

    #[test]
    fn clones_share_one_memory() {
        let secret = Secret::new("hunter2");
        assert_eq!(secret.expose().as_ptr(), secret.clone().expose().as_ptr());
    }

    /// A named pipe is waited for without an end, and `/dev/zero` read without one.
    #[cfg(unix)]
    #[test]
    fn pipes_devices_and_long_files_are_not_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        assert!(
            std::process::Command::new("mkfifo")
                .arg(path("pipe"))
                .status()
                .unwrap()
                .success()
        );
        std::fs::write(path("long"), vec![b'x'; (1 << 20) + 1]).unwrap();
        let why = |path: &Path| read_bytes(path).unwrap_err().to_string();
        for odd in [
            path("pipe"),
            directory.path().to_owned(),
            "/dev/zero".into(),
        ] {
            assert_eq!(why(&odd), "it is not a regular file", "{odd:?}");
        }
        assert_eq!(why(&path("long")), "it is longer than 1 MiB");
        std::fs::write(path("long"), vec![b'x'; 1 << 20]).unwrap();
        assert_eq!(read_bytes(&path("long")).unwrap().len(), 1 << 20);
    }
}
