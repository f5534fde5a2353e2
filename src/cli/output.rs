//! Standard output of the commands.

use std::io::Write;

use super::error::CommandError;

/// Prints `text` as it is.
pub(super) fn print(text: impl AsRef<[u8]>) -> Result<(), CommandError> {
    Ok(std::io::stdout().write_all(text.as_ref())?)
}

/// Prints `line` and a line end.
pub(super) fn print_line(line: &str) -> Result<(), CommandError> {
    print(format!("{line}\n"))
}
