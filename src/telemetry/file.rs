//! The file of `log.file`, wherever its path leads by now.
//!
//! A log is rotated by others: its file is renamed and perhaps made anew, or copied and cut to nothing. Both lose no line:
//! each is appended to what is there, and until the path names another file, the one that it named stays in use.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often the path is looked at, at most.
const PERIOD: Duration = Duration::from_secs(1);

/// An open file, and the path that it is to be found under.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    looked: Instant,
    /// Whether the path led nowhere when it was looked at last.
    is_missing: bool,
    /// Whether it was told that the path cannot be opened.
    has_told: bool,
}

impl LogFile {
    /// Opens `path` to append to it, and makes the file if there is none.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = append_to(path)?;
        Ok(LogFile {
            path: path.to_owned(),
            file,
            looked: Instant::now(),
            is_missing: false,
            has_told: false,
        })
    }

    fn look(&mut self) {
        let named = std::fs::metadata(&self.path);
        if let (Ok(named), Ok(open)) = (&named, self.file.metadata())
            && is_same(named, &open)
        {
            self.is_missing = false;
            return;
        }
        // Whoever has renamed it is about to make the next one, and may not like to find one.
        if named.is_err() && !self.is_missing {
            self.is_missing = true;
            return;
        }
        match append_to(&self.path) {
            Ok(file) => {
                self.file = file;
                self.is_missing = false;
                self.has_told = false;
            }
            Err(error) if !self.has_told => {
                self.has_told = true;
                tracing::warn!(
                    %error,
                    path = %self.path.display(),
                    "log.file cannot be opened again; lines go on to the file that it named before"
                );
            }
            Err(_) => {}
        }
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.looked.elapsed() >= PERIOD {
            self.looked = Instant::now();
            self.look();
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o640);
    options.open(path)
}

#[cfg(unix)]
fn is_same(one: &Metadata, other: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Where a file that is open cannot be renamed.
#[cfg(not(unix))]
fn is_same(_: &Metadata, _: &Metadata) -> bool {
    true
}
