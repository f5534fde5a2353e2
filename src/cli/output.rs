//! Standard output of the commands.

use std::io::{IsTerminal, Write};

use super::error::CommandError;

/// Whether standard output is a terminal that shows colors, and NO_COLOR (<https://no-color.org>) does
/// not forbid them.
pub(super) fn is_colored() -> bool {
    std::io::stdout().is_terminal()
        && anstyle_query::term_supports_ansi_color()
        && !anstyle_query::no_color()
}

/// Prints `text` as it is.
pub(super) fn print(text: impl AsRef<[u8]>) -> Result<(), CommandError> {
    Ok(std::io::stdout().write_all(text.as_ref())?)
}

/// Prints `line` and a line end.
pub(super) fn print_line(line: &str) -> Result<(), CommandError> {
    print(format!("{line}\n"))
}
