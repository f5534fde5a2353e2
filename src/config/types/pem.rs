//! Certificates and keys, from PEM files or from the platform.
//!
//! No error holds a byte of a file: a file that is named as a certificate may hold the private key
//! as well.

mod fault;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls_native_certs::ErrorKind;
use zeroize::Zeroizing;

use self::fault::PemFault;
use crate::config::error::Problem;
use crate::secret::{Source, absolute, is_absence, read_bytes};

/// Error of a PEM file that cannot be used.
#[derive(Debug)]
pub(crate) struct PemError {
    path: PathBuf,
    wanted: Wanted,
    reason: Reason,
}

#[derive(Debug)]
enum Reason {
    Unreadable(io::Error),
    Malformed(Option<PemFault>),
    Missing {
        has_key: bool,
        has_certificate: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Certificate,
    TrustAnchor,
    PrivateKey,
}

impl Wanted {
    fn name(self) -> &'static str {
        match self {
            Wanted::Certificate => "certificate",
            Wanted::TrustAnchor => "certificate that can be a trust anchor",
            Wanted::PrivateKey => "private key",
        }
    }
}

impl PemError {
    /// This error as a problem of `key`.
    pub(crate) fn at(self, key: &'static str) -> Problem {
        let PemError {
            path,
            wanted,
            reason,
        } = self;
        let (full, name) = (absolute(&path), wanted.name());
        let shown = full.display();
        match reason {
            Reason::Unreadable(error) => {
                let fix = "check the path and the permissions of the file";
                let problem = Problem::new(key, format!("cannot read {shown}: {error}"), fix);
                if is_absence(&error) {
                    problem.of_absent(Source::File(path))
                } else {
                    problem
                }
            }
            Reason::Malformed(Some(PemFault { cause, fix })) => {
                let fix = fix.replace("FILE", &shown.to_string());
                Problem::new(
                    key,
                    format!("{shown} is not a usable PEM file: {cause}"),
                    fix,
                )
            }
            Reason::Malformed(None) => Problem::new(
                key,
                format!("{shown} is not a usable PEM file"),
                format!("give a PEM file with a {name}, as it was issued"),
            ),
            Reason::Missing {
                has_key,
                has_certificate,
            } => {
                let other = match wanted {
                    Wanted::PrivateKey if has_certificate => ", but a certificate",
                    Wanted::Certificate | Wanted::TrustAnchor if has_key => ", but a private key",
                    _ => "",
                };
                let swapped = if other.is_empty() {
                    ""
                } else {
                    "; the paths of two keys may be swapped"
                };
                Problem::new(
                    key,
                    format!("{shown} holds no {name}{other}"),
                    format!("give a PEM file with a {name}{swapped}"),
                )
            }
        }
    }
}

/// A PEM file in memory, which is zeroed when it is dropped.
struct File<'a> {
    path: &'a Path,
    bytes: Zeroizing<Vec<u8>>,
}

impl<'a> File<'a> {
    fn read(path: &'a Path, wanted: Wanted) -> Result<Self, PemError> {
        let error = |reason| PemError {
            path: path.to_owned(),
            wanted,
            reason,
        };
        let bytes = read_bytes(path).map_err(|found| error(Reason::Unreadable(found)))?;
        // The parser takes the first section for text around it then, and drops it.
        if fault::begins_with_mark(&bytes) {
            return Err(error(Reason::Malformed(Some(fault::BYTE_ORDER_MARK))));
        }
        Ok(File { path, bytes })
    }

    /// The sections of one kind; those of other kinds are skipped.
    fn sections<T: PemObject>(&self, wanted: Wanted) -> Result<Vec<T>, PemError> {
        // Its own errors hold lines of the file.
        let found: Result<Vec<T>, _> = T::pem_slice_iter(&self.bytes).collect();
        match found {
            Ok(found) if !found.is_empty() => Ok(found),
            Ok(_) => Err(self.without(wanted)),
            Err(_) => Err(self.error(wanted, Reason::Malformed(fault::find(&self.bytes)))),
        }
    }

    /// The error of a file that has nothing of what is wanted.
    fn without(&self, wanted: Wanted) -> PemError {
        if let Some(fault) = fault::find(&self.bytes) {
            return self.error(wanted, Reason::Malformed(Some(fault)));
        }
        let has_key = PrivateKeyDer::from_pem_slice(&self.bytes)
            .map(Zeroizing::new)
            .is_ok();
        let has_certificate = CertificateDer::from_pem_slice(&self.bytes).is_ok();
        self.error(
            wanted,
            Reason::Missing {
                has_key,
                has_certificate,
            },
        )
    }

    fn error(&self, wanted: Wanted, reason: Reason) -> PemError {
        PemError {
            path: self.path.to_owned(),
            wanted,
            reason,
        }
    }
}

/// The likely cause, and its fix, why `text` is not PEM; `None` where nothing is wrong with its
/// form.
pub(crate) fn fault(text: &[u8], file: Option<&Path>) -> Option<(&'static str, String)> {
    let file = file.map_or_else(|| "FILE".to_owned(), |file| file.display().to_string());
    fault::find(text).map(|PemFault { cause, fix }| (cause, fix.replace("FILE", &file)))
}

/// The trust anchors in the PEM file `path`, at least one.
pub(crate) fn roots(path: &Path) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let wanted = Wanted::TrustAnchor;
    let file = File::read(path, wanted)?;
    let found = usable(file.sections(Wanted::Certificate)?);
    if found.is_empty() {
        let reason = Reason::Missing {
            has_key: false,
            has_certificate: true,
        };
        return Err(file.error(wanted, reason));
    }
    Ok(found)
}

/// The trust anchors for a TLS client: those in `file`, which the key `key` names, else the
/// platform's; none without TLS.
pub(crate) fn roots_for(
    file: Option<&Path>,
    key: &'static str,
    is_tls: bool,
) -> Result<Vec<CertificateDer<'static>>, Problem> {
    match file {
        Some(path) => roots(path).map_err(|error| error.at(key)),
        None if is_tls => platform_roots(key),
        None => Ok(Vec::new()),
    }
}

/// All certificates in the PEM file `path`, at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PemError> {
    File::read(path, Wanted::Certificate)?.sections(Wanted::Certificate)
}

/// The first private key in the PEM file `path`.
fn private_key(path: &Path) -> Result<Zeroizing<PrivateKeyDer<'static>>, PemError> {
    let wanted = Wanted::PrivateKey;
    let file = File::read(path, wanted)?;
    let mut found = PrivateKeyDer::pem_slice_iter(&file.bytes);
    match found.next() {
        Some(Ok(key)) => Ok(Zeroizing::new(key)),
        Some(Err(_)) => Err(file.error(wanted, Reason::Malformed(fault::find(&file.bytes)))),
        None => Err(file.without(wanted)),
    }
}

/// The problem of the private key in the PEM file `path`, which `key` names.
pub(crate) fn key_problem(path: &Path, key: &'static str) -> Option<Problem> {
    private_key(path).err().map(|error| error.at(key))
}

/// A certificate chain and its key.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// The chain, the end-entity certificate first.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its private key; rustls redacts its `Debug`.
    pub key: Arc<Zeroizing<PrivateKeyDer<'static>>>,
}

/// The chain and the key in two PEM files, if they belong together; `keys` are where the files were
/// named.
pub(crate) fn identity(
    cert: &Path,
    key: &Path,
    keys: [&'static str; 2],
) -> Result<Identity, Problem> {
    let [cert_key, key_key] = keys;
    let chain = certificates(cert).map_err(|error| error.at(cert_key))?;
    let private = private_key(key).map_err(|error| error.at(key_key))?;
    CertifiedKey::from_der(chain.clone(), private.clone_key(), &ring::default_provider()).map_err(
        |error| {
            let (cert, key) = (cert.display(), key.display());
            let (cause, fix) = match error {
                rustls::Error::InconsistentKeys(_) => (
                    "the key is that of another certificate",
                    format!("give the key that the first certificate of {cert_key} was made for"),
                ),
                rustls::Error::InvalidCertificate(_) => (
                    "the first certificate cannot be read",
                    format!("give a certificate in {cert_key} as it was issued"),
                ),
                _ => (
                    "the key cannot be read",
                    "give the key that the certificate was made for: RSA of 2048 bits or more, ECDSA with P-256 or P-384, or \
                     Ed25519"
                        .to_owned(),
                ),
            };
            let message = format!("{key} and the certificate in {cert} cannot be used together: {cause}");
            Problem::new(key_key, message, fix)
        },
    )?;
    Ok(Identity {
        chain,
        key: Arc::new(private),
    })
}

/// The certificates that this platform trusts; `key` is where others could be named.
fn platform_roots(key: &'static str) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let found = rustls_native_certs::load_native_certs();
    let roots = usable(found.certs);
    if !roots.is_empty() {
        return Ok(roots);
    }
    let why: Vec<_> = found.errors.iter().map(describe).collect();
    Err(Problem::new(
        key,
        format!(
            "this machine has no trusted certificates {}",
            why.join("; ")
        )
        .trim_end()
        .to_owned(),
        format!("install the package ca-certificates, or write {key}"),
    ))
}

/// The error of the platform's store, without the lines of a file that its own text holds:
/// `SSL_CERT_FILE` names any file.
fn describe(error: &rustls_native_certs::Error) -> String {
    match &error.kind {
        ErrorKind::Io { inner, path } => format!("{}: {}: {inner}", error.context, path.display()),
        ErrorKind::Os(inner) => format!("{}: {inner}", error.context),
        // Its text holds a line of the file.
        _ => format!("{}: a file is not a usable PEM file", error.context),
    }
}

/// The certificates that rustls can read: one bad certificate in a store must not make the others
/// unusable.
fn usable(certificates: Vec<CertificateDer<'static>>) -> Vec<CertificateDer<'static>> {
    let can_be_read =
        |found: &CertificateDer<'static>| RootCertStore::empty().add(found.clone()).is_ok();
    certificates.into_iter().filter(can_be_read).collect()
}
