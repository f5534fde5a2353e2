//! The log file (`log.file`): reopened as soon as its path names another file.
//!
//! Other programs rotate it. They rename it and perhaps create the next one, or copy it and
//! truncate it. The path is compared with the open file before each batch of lines, so that a file
//! that was moved gets no further line: a compressor may have read it to its end.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long the path may name no file before one is created. The program that renamed the file may
/// create the next one, and reports an error if it finds one.
const CREATE_DELAY: Duration = Duration::from_millis(100);

/// An open file, and the path that it is to be found under.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    /// Of `file`.
    id: FileId,
    /// Since when the path names no file.
    missing_since: Option<Instant>,
}

/// The file that the next bytes go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileChange {
    /// The one that the last bytes went to.
    Same,
    /// Another one.
    Other,
    /// None yet: the path names no file, and somebody may be about to create it.
    Awaited,
}

impl LogFile {
    /// Opens `path` to append to it, and creates the file if there is none.
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

    /// Reopens the path if it names another file than the open one, and in any case if it
    /// `must_reopen`. A path that names no file is awaited for a moment if that is `patient`.
    pub(super) fn follow(&mut self, must_reopen: bool, patient: bool) -> io::Result<FileChange> {
        if !must_reopen {
            match std::fs::metadata(&self.path) {
                Ok(named) if file_id(&named) == self.id => {
                    self.missing_since = None;
                    return Ok(FileChange::Same);
                }
                Err(error) if error.kind() == ErrorKind::NotFound && patient => {
                    let since = *self.missing_since.get_or_insert_with(Instant::now);
                    if since.elapsed() < CREATE_DELAY {
                        return Ok(FileChange::Awaited);
                    }
                }
                // If the path cannot be looked at, opening it says why.
                Ok(_) | Err(_) => {}
            }
        }
        let (file, id) = append_to(&self.path)?;
        let is_other = id != self.id;
        self.file = file;
        self.id = id;
        self.missing_since = None;
        Ok(if is_other {
            FileChange::Other
        } else {
            FileChange::Same
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

/// Device and inode: no other file has them while this one is open.
#[cfg(unix)]
type FileId = (u64, u64);

#[cfg(unix)]
fn file_id(metadata: &Metadata) -> FileId {
    use std::os::unix::fs::MetadataExt;
    (metadata.dev(), metadata.ino())
}

/// Where a file that is open cannot be renamed, all are the same.
#[cfg(not(unix))]
type FileId = ();

#[cfg(not(unix))]
fn file_id(_: &Metadata) -> FileId {}
