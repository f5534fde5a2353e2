//! Certificates and keys, from PEM files or from the platform.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::error::Problem;

/// Why a PEM file is of no use.
#[derive(Debug)]
pub(super) struct Error {
    path: PathBuf,
    wanted: &'static str,
    source: pem::Error,
}

impl Error {
    /// This error as a problem of `key`.
    pub(super) fn at(self, key: &'static str) -> Problem {
        let Error { path, wanted, source } = self;
        let path = path.display();
        match source {
            pem::Error::Io(error) => Problem::new(
                key,
                format!("cannot read {path}: {error}"),
                "check the path and the permissions of the file",
            ),
            pem::Error::NoItemsFound => Problem::new(
                key,
                format!("{path} holds no {wanted}"),
                format!("give a PEM file with a {wanted}"),
            ),
            other => Problem::new(key, format!("{path} is no PEM file: {other}"), "give a PEM file"),
        }
    }
}

/// The trust anchors in the PEM file `path`, at least one.
pub(super) fn roots(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found = usable(certificates(path)?);
    if found.is_empty() {
        let wanted = "certificate that can be a trust anchor";
        return Err(Error { path: path.to_owned(), wanted, source: pem::Error::NoItemsFound });
    }
    Ok(found)
}

/// All certificates in the PEM file `path`, at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let error = |source| Error { path: path.to_owned(), wanted: "certificate", source };
    let found =
        CertificateDer::pem_file_iter(path).map_err(error)?.collect::<Result<Vec<_>, _>>().map_err(error)?;
    if found.is_empty() { Err(error(pem::Error::NoItemsFound)) } else { Ok(found) }
}

/// The first private key in the PEM file `path`.
fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_file(path).map_err(|source| Error {
        path: path.to_owned(),
        wanted: "private key",
        source,
    })
}

/// A certificate chain and its key.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// The chain, the end-entity certificate first.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its private key; rustls redacts its `Debug`.
    pub key: Arc<PrivateKeyDer<'static>>,
}

/// The chain and the key in two PEM files, if they belong together; `keys` are where the files were named.
pub(super) fn identity(cert: &Path, key: &Path, keys: [&'static str; 2]) -> Result<Identity, Problem> {
    let [cert_key, key_key] = keys;
    let chain = certificates(cert).map_err(|error| error.at(cert_key))?;
    let private = private_key(key).map_err(|error| error.at(key_key))?;
    CertifiedKey::from_der(chain.clone(), private.clone_key(), &ring::default_provider()).map_err(
        |error| {
            let (cert, key) = (cert.display(), key.display());
            Problem::new(
                key_key,
                format!("{key} and the certificate in {cert} cannot be used together: {error}"),
                format!("give the key that the first certificate of {cert_key} was made for"),
            )
        },
    )?;
    Ok(Identity { chain, key: Arc::new(private) })
}

/// The certificates that this platform trusts; `key` is where others could be named.
pub(super) fn platform_roots(key: &'static str) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let found = rustls_native_certs::load_native_certs();
    let roots = usable(found.certs);
    if !roots.is_empty() {
        return Ok(roots);
    }
    let why: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
    Err(Problem::new(
        key,
        format!("this machine has no trusted certificates {}", why.join("; ")).trim_end().to_owned(),
        format!("install the package ca-certificates, or write {key}"),
    ))
}

/// Those that rustls can read: a store may hold odd ones, and one of them must not keep the rest from being used.
fn usable(certificates: Vec<CertificateDer<'static>>) -> Vec<CertificateDer<'static>> {
    let can_be_read = |found: &CertificateDer<'static>| RootCertStore::empty().add(found.clone()).is_ok();
    certificates.into_iter().filter(can_be_read).collect()
}
