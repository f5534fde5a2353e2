//! Certificate files that the configuration names and only a reload reads: those for connections to
//! GBG. A private CA replaces its certificate without a change of the configuration.

use std::path::PathBuf;

use crate::config::Effective;
use crate::fs::fingerprint::Fingerprint;
use crate::fs::watcher::FileWatcher;

const KEYS: [&str; 4] = [
    "upstream.ca_file",
    "upstream.client_cert",
    "upstream.client_key",
    "token.ca_file",
];

pub(in crate::cli) struct CertificateFiles {
    keys: Vec<String>,
    files: Vec<PathBuf>,
    /// When this was created.
    fingerprints: Vec<Option<Fingerprint>>,
    watcher: FileWatcher,
}

impl CertificateFiles {
    /// Watches the files that `effective` names. Create it before the files are read.
    pub(super) fn new(effective: &[Effective]) -> Self {
        let named = effective
            .iter()
            .filter(|one| KEYS.contains(&one.key.as_str()))
            .filter_map(|one| Some((one.key.clone(), PathBuf::from(one.text()?))));
        let (keys, files): (Vec<_>, Vec<_>) = named.unzip();
        CertificateFiles {
            fingerprints: Fingerprint::of_all(&files),
            watcher: FileWatcher::new(files.clone()),
            keys,
            files,
        }
    }

    /// Waits until a file has changed, and all are complete.
    pub(super) async fn changed(&self) {
        self.watcher.settled().await;
    }

    /// Whether `other` has the same files.
    pub(super) fn has_files_of(&self, other: &CertificateFiles) -> bool {
        self.files == other.files
    }

    /// The keys whose files have changed between the creation of `earlier` and of this.
    pub(super) fn changed_since(&self, earlier: &CertificateFiles) -> Vec<String> {
        let pairs = self.fingerprints.iter().zip(&earlier.fingerprints);
        let changed = self.keys.iter().zip(pairs);
        changed
            .filter(|(_, (now, then))| now != then)
            .map(|(key, _)| format!("{key} (its content)"))
            .collect()
    }
}
