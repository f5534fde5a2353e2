//! Positions in a file, as line and column.

use std::path::Path;

use crate::config::error::ValueSource;

/// The lines of a file.
pub(crate) struct Positions<'a> {
    file: &'a Path,
    text: &'a str,
    /// The byte at which each line begins.
    line_starts: Vec<usize>,
}

impl<'a> Positions<'a> {
    pub(crate) fn new(file: &'a Path, text: &'a str) -> Self {
        let breaks = text.match_indices('\n').map(|(at, _)| at + 1);
        Positions {
            file,
            text,
            line_starts: std::iter::once(0).chain(breaks).collect(),
        }
    }

    /// The position of the byte `offset`; lines and columns count from one, columns in characters.
    pub(crate) fn of(&self, offset: usize) -> ValueSource {
        let line = self.line_starts.partition_point(|start| *start <= offset);
        let start = self.line_starts[line - 1];
        let before = self.text.get(start..offset).unwrap_or_default();
        ValueSource::Position {
            file: self.file.to_owned(),
            line,
            column: before.chars().count() + 1,
        }
    }

    /// The text before the line of the byte `offset`, and that line.
    pub(crate) fn line(&self, offset: usize) -> (&'a str, &'a str) {
        let line = self.line_starts.partition_point(|start| *start <= offset);
        let (before, rest) = self.text.split_at(self.line_starts[line - 1]);
        (before, rest.lines().next().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters() {
        let text = "[token]\nä = 1\n scop = 2";
        let positions = Positions::new("proxy.toml".as_ref(), text);
        let shown = |offset| positions.of(offset).to_string();
        assert_eq!(shown(0), "proxy.toml:1:1");
        assert_eq!(shown(11), "proxy.toml:2:3");
        assert_eq!(shown(16), "proxy.toml:3:2");
        assert_eq!(shown(text.len()), "proxy.toml:3:10");
        assert_eq!(positions.line(16), ("[token]\nä = 1\n", " scop = 2"));
    }
}
