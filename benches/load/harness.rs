//! What is asked for on the command line: a mode, or what cargo says to every bench and every test.

/// The modes, which are subcommands.
pub(crate) const MODES: [&str; 3] = ["steps", "soak", "overload"];

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// A mode, or help: the arguments say all.
    Mode,
    /// A short run of each mode, as a test.
    ShortRun,
    /// Something else: this is the filter that leaves us out.
    Other(String),
}

/// What `arguments`, without the program's name, ask for.
///
/// `cargo bench` adds `--bench`. Without it, it is `cargo test` that asks, and with `--test`
/// whoever wants to know whether the benches still work. All of them may name what they want of all
/// benches and tests.
pub(crate) fn asked(arguments: &[&str]) -> Asked {
    let has = |option: &str| arguments.contains(&option);
    let first = arguments
        .iter()
        .find(|argument| !argument.starts_with('-'))
        .copied();
    match first {
        _ if has("--help") || has("-h") => Asked::Mode,
        _ if has("--test") => Asked::ShortRun,
        Some(mode) if has("--bench") && MODES.contains(&mode) => Asked::Mode,
        Some(filter) if !"load".contains(filter) => Asked::Other(filter.to_owned()),
        _ => Asked::ShortRun,
    }
}
