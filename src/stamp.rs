//! What tells a file from the one that was there before under the same path.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What is known of a file without reading it. Links are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    /// Device, inode and the time of the last change of the inode, which no tool sets back.
    #[cfg(unix)]
    inode: (u64, u64, i64, i64),
}

impl Stamp {
    /// `None` where there is no file.
    pub fn of(file: &Path) -> Option<Self> {
        let found = std::fs::metadata(file).ok()?;
        Some(Stamp {
            modified: found.modified().ok(),
            length: found.len(),
            #[cfg(unix)]
            inode: {
                use std::os::unix::fs::MetadataExt;
                (found.dev(), found.ino(), found.ctime(), found.ctime_nsec())
            },
        })
    }

    /// Those of `files`, in their order.
    pub fn of_all(files: &[PathBuf]) -> Vec<Option<Self>> {
        files.iter().map(|file| Stamp::of(file)).collect()
    }
}
