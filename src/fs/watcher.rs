//! File watcher: polls the fingerprints of files once a second.
//!
//! File system notifications miss changes that a reader of the path sees: a swapped symbolic link
//! on the way (Kubernetes), a network file system, a new mount.

use std::future::pending;
use std::path::PathBuf;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::sleep;

use super::fingerprint::Fingerprint;
use crate::rt::blocking::SerialBlocking;

/// Time between two polls.
pub const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Watches a fixed list of files.
#[derive(Debug)]
pub struct FileWatcher {
    files: Vec<PathBuf>,
    /// The fingerprints at the last poll; `None` before the first.
    seen: Mutex<Option<Vec<Option<Fingerprint>>>>,
    blocking: SerialBlocking,
}

impl FileWatcher {
    /// Watches `files` for changes from now on. Reads their metadata: create the watcher before
    /// reading the files, so that no write in between is missed.
    pub fn new(files: Vec<PathBuf>) -> Self {
        let seen = Fingerprint::of_all(&files);
        FileWatcher {
            seen: Mutex::new(Some(seen)),
            ..FileWatcher::unseen(files)
        }
    }

    /// Watches `files` that were read some time ago: the first poll reports a change.
    pub fn unseen(files: Vec<PathBuf>) -> Self {
        FileWatcher {
            files,
            seen: Mutex::default(),
            blocking: SerialBlocking::default(),
        }
    }

    /// Returns true if a file has changed since the last poll.
    pub async fn poll(&self) -> bool {
        let files = self.files.clone();
        let now = self.blocking.run(move || Fingerprint::of_all(&files)).await;
        // `None` is a panic; the next poll tries again.
        let Some(now) = now else { return false };
        let mut seen = self.seen.lock();
        let has_changed = seen.as_ref() != Some(&now);
        *seen = Some(now);
        has_changed
    }

    /// Waits until a poll reports a change. Never returns if there are no files.
    pub async fn changed(&self) {
        if self.files.is_empty() {
            return pending().await;
        }
        loop {
            sleep(POLL_INTERVAL).await;
            if self.poll().await {
                return;
            }
        }
    }

    /// Waits until a file has changed, and then until all exist and a poll reports no change: a
    /// file may be written piece by piece.
    pub async fn settled(&self) {
        self.changed().await;
        loop {
            sleep(POLL_INTERVAL).await;
            let is_same = !self.poll().await;
            if is_same && self.all_exist() {
                return;
            }
        }
    }

    fn all_exist(&self) -> bool {
        let seen = self.seen.lock();
        seen.iter().flatten().all(Option::is_some)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tokio::time::timeout;

    use super::*;

    async fn sees_a_change(watcher: &FileWatcher) -> bool {
        timeout(POLL_INTERVAL * 3, watcher.changed()).await.is_ok()
    }

    #[tokio::test]
    async fn a_written_or_replaced_file_is_reported_once() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("secret");
        let next = directory.path().join("next");
        fs::write(&file, "one").unwrap();
        let watcher = FileWatcher::new(vec![file.clone()]);
        fs::write(&file, "two").unwrap();
        assert!(sees_a_change(&watcher).await);
        assert!(!sees_a_change(&watcher).await);
        fs::write(&next, "two").unwrap();
        fs::rename(&next, &file).unwrap();
        assert!(sees_a_change(&watcher).await);
    }

    /// Kubernetes: the file is a link through `..data`, itself a link that is swapped for another.
    #[cfg(unix)]
    #[tokio::test]
    async fn a_swapped_link_is_reported() {
        use std::os::unix::fs::symlink;
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for version in ["..1", "..2"] {
            fs::create_dir(path(version)).unwrap();
            fs::write(path(version).join("secret"), "same length").unwrap();
        }
        symlink("..1", path("..data")).unwrap();
        symlink("..data/secret", path("secret")).unwrap();
        let watcher = FileWatcher::new(vec![path("secret")]);
        symlink("..2", path("..data_tmp")).unwrap();
        fs::rename(path("..data_tmp"), path("..data")).unwrap();
        assert!(sees_a_change(&watcher).await);
    }

    #[tokio::test]
    async fn unseen_files_are_reported_by_the_first_poll() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let watcher = FileWatcher::unseen(vec![file.path().to_owned()]);
        assert!(watcher.poll().await);
        assert!(!watcher.poll().await);
    }

    #[tokio::test]
    async fn a_file_settles_once_it_exists_unchanged() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("proxy.toml");
        fs::write(&file, "one").unwrap();
        let watcher = FileWatcher::new(vec![file.clone()]);
        fs::remove_file(&file).unwrap();
        assert!(timeout(POLL_INTERVAL * 4, watcher.settled()).await.is_err());
        fs::write(&file, "two").unwrap();
        assert!(timeout(POLL_INTERVAL * 4, watcher.settled()).await.is_ok());
    }
}
