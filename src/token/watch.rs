//! Notices that a file with a credential has been replaced.
//!
//! It looks once a second instead of asking the system to be told: what counts is what a reader of
//! the path would find, and that changes as well when a link on the way is swapped (Kubernetes),
//! when the file is on a network, or when it is mounted over.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::sleep;

use crate::fs::fingerprint::Fingerprint;
use crate::rt::blocking::SerialBlocking;

const PERIOD: Duration = Duration::from_secs(1);

/// Watches files.
#[derive(Debug)]
pub(super) struct Watch {
    files: Vec<PathBuf>,
    seen: Mutex<Vec<Option<Fingerprint>>>,
    aside: SerialBlocking,
}

impl Watch {
    /// Watches `files`, as they are now.
    pub(super) fn new(files: Vec<PathBuf>) -> Self {
        let seen = Mutex::new(Fingerprint::of_all(&files));
        Watch {
            files,
            seen,
            aside: SerialBlocking::default(),
        }
    }

    /// Waits until one of them is another than it was.
    pub(super) async fn changed(&self) {
        if self.files.is_empty() {
            return std::future::pending().await;
        }
        loop {
            sleep(PERIOD).await;
            let files = self.files.clone();
            let Some(now) = self.aside.run(move || Fingerprint::of_all(&files)).await else {
                continue;
            };
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if *seen != now {
                *seen = now;
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tokio::time::timeout;

    use super::*;

    async fn sees_a_change(watch: &Watch) -> bool {
        timeout(PERIOD * 3, watch.changed()).await.is_ok()
    }

    #[tokio::test]
    async fn a_file_that_is_written_or_replaced_is_noticed_once() {
        let directory = tempfile::tempdir().unwrap();
        let (file, next) = (
            directory.path().join("secret"),
            directory.path().join("next"),
        );
        fs::write(&file, "one").unwrap();
        let watch = Watch::new(vec![file.clone()]);
        fs::write(&file, "two").unwrap();
        assert!(sees_a_change(&watch).await);
        assert!(!sees_a_change(&watch).await);
        fs::write(&next, "two").unwrap();
        fs::rename(&next, &file).unwrap();
        assert!(sees_a_change(&watch).await);
    }

    /// Kubernetes: the file is a link through `..data`, itself a link that is swapped for another.
    #[cfg(unix)]
    #[tokio::test]
    async fn a_swapped_link_on_the_way_is_noticed() {
        use std::os::unix::fs::symlink;
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for version in ["..1", "..2"] {
            fs::create_dir(path(version)).unwrap();
            fs::write(path(version).join("secret"), "same length").unwrap();
        }
        symlink("..1", path("..data")).unwrap();
        symlink("..data/secret", path("secret")).unwrap();
        let watch = Watch::new(vec![path("secret")]);
        symlink("..2", path("..data_tmp")).unwrap();
        fs::rename(path("..data_tmp"), path("..data")).unwrap();
        assert!(sees_a_change(&watch).await);
    }
}
