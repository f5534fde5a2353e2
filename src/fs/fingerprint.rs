//! File fingerprint (mtime, size, inode, ctime): detects that a file was changed or replaced.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The metadata of a file that change with it. Symbolic links are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    modified: Option<SystemTime>,
    length: u64,
    /// Device, inode and the time of the last change of the inode, which no tool sets back.
    #[cfg(unix)]
    inode: (u64, u64, i64, i64),
}

impl Fingerprint {
    /// `None` if there is no file.
    pub fn of(file: &Path) -> Option<Self> {
        let found = std::fs::metadata(file).ok()?;
        Some(Fingerprint {
            modified: found.modified().ok(),
            length: found.len(),
            #[cfg(unix)]
            inode: {
                use std::os::unix::fs::MetadataExt;
                (found.dev(), found.ino(), found.ctime(), found.ctime_nsec())
            },
        })
    }

    /// The fingerprints of `files`, in their order.
    pub fn of_all(files: &[PathBuf]) -> Vec<Option<Self>> {
        files.iter().map(|file| Fingerprint::of(file)).collect()
    }
}
