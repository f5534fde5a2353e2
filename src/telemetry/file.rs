//! The log file (`log.file`): reopened as soon as its path names another file.
//!
//! Other programs rotate it. They rename it and perhaps create the next one, or copy it and
//! truncate it. The path is compared with the open file before each batch of lines, so that a file
//! that was moved gets no further line: a compressor may have read it to its end.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long the path may be missing before a file is created. The program that renamed the file may
/// create the next one, and reports an error if one exists.
const CREATE_DELAY: Duration = Duration::from_millis(100);

/// An open file and its path.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    id: FileId,
    /// When the path was first found missing.
    missing_since: Option<Instant>,
}

/// Change of the file behind the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileChange {
    /// The next bytes go to the same file as the last.
    None,
    /// Another file was opened.
    Replaced,
    /// The path is missing: the program that rotates the file may be about to create it.
    Missing,
}

impl LogFile {
    /// Opens `path` for appending; creates the file if it is missing.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let (file, id) = append_to(path)?;
        Ok(LogFile {
            path: path.to_owned(),
            file,
            id,
            missing_since: None,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reopens the path if it names another file than the open one, or if it `must_reopen`. With
    /// `may_wait`, a missing file is not created before [`CREATE_DELAY`].
    pub(super) fn follow(&mut self, must_reopen: bool, may_wait: bool) -> io::Result<FileChange> {
        if !must_reopen {
            match std::fs::metadata(&self.path) {
                Ok(named) if file_id(&named) == self.id => {
                    self.missing_since = None;
                    return Ok(FileChange::None);
                }
                Err(error) if error.kind() == ErrorKind::NotFound && may_wait => {
                    let since = *self.missing_since.get_or_insert_with(Instant::now);
                    if since.elapsed() < CREATE_DELAY {
                        return Ok(FileChange::Missing);
                    }
                }
                // If the path cannot be looked at, opening it says why.
                Ok(_) | Err(_) => {}
            }
        }
        let (file, id) = append_to(&self.path)?;
        let is_replaced = id != self.id;
        self.file = file;
        self.id = id;
        self.missing_since = None;
        Ok(if is_replaced {
            FileChange::Replaced
        } else {
            FileChange::None
        })
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn append_to(path: &Path) -> io::Result<(File, FileId)> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o640);
    let file = options.open(path)?;
    let id = file_id(&file.metadata()?);
    Ok((file, id))
}

/// Device and inode: unique while the file is open. `None` on systems that do not rename open
/// files.
type FileId = Option<(u64, u64)>;

fn file_id(metadata: &Metadata) -> FileId {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        Some((metadata.dev(), metadata.ino()))
    }
    #[cfg(not(unix))]
    {
        let _ = metadata;
        None
    }
}
