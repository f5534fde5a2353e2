//! Command line of the load test: a mode, or the arguments that cargo passes to every bench and
//! test.

/// The subcommands.
pub(crate) const MODES: [&str; 3] = ["steps", "soak", "overload"];

/// The kind of an invocation.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Invocation {
    /// A mode or help, which clap parses.
    Mode,
    /// A short run of each mode, as a test.
    ShortRun,
    /// Another bench or test: the filter does not match.
    Other(String),
}

/// Classifies `arguments`, without the program's name.
///
/// `cargo bench` adds `--bench`; without it the caller is `cargo test`, and `--test` runs the
/// benches as tests. All of them may pass a filter.
pub(crate) fn parse_invocation(arguments: &[&str]) -> Invocation {
    let has = |option: &str| arguments.contains(&option);
    let first = arguments
        .iter()
        .find(|argument| !argument.starts_with('-'))
        .copied();
    match first {
        _ if has("--help") || has("-h") => Invocation::Mode,
        _ if has("--test") => Invocation::ShortRun,
        Some(mode) if has("--bench") && MODES.contains(&mode) => Invocation::Mode,
        Some(filter) if !"load".contains(filter) => Invocation::Other(filter.to_owned()),
        _ => Invocation::ShortRun,
    }
}
