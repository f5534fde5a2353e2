//! `gbg-proxy man`: manual pages, one for each command.

use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_mangen::roff::{Roff, bold, roman};

use super::error::CommandError;
use super::output::print;

/// An entry of a section: a name, and what it means.
type Entry = (&'static str, &'static str);

const SUCCESS: Entry = ("0", "success");
const USAGE: Entry = ("64", "invalid usage or configuration");

const CREDENTIALS: Entry = (
    "GBG_CLIENT_ID, GBG_CLIENT_SECRET",
    "Client ID and secret, unless token.client_id and token.client_secret name another place",
);

const KEYS: Entry = (
    "GBG_PROXY_SECTION_KEY",
    "Sets section.key, such as GBG_PROXY_UPSTREAM_REGION for upstream.region; overrides the file",
);

const COLOR: Entry = (
    "NO_COLOR",
    "If set and not empty, the output on a terminal has no colors",
);

const SERVICE: [Entry; 3] = [
    (
        "NOTIFY_SOCKET, WATCHDOG_USEC, LISTEN_FDS, LISTEN_PID",
        "Set by systemd: state, watchdog and socket of the service",
    ),
    (
        "CREDENTIALS_DIRECTORY",
        "Set by systemd: the directory of values that are written as \"credential:NAME\"",
    ),
    (
        "OTEL_EXPORTER_OTLP_HEADERS, OTEL_RESOURCE_ATTRIBUTES",
        "Header fields and attributes for the trace collector of trace.endpoint",
    ),
];

const FILES: [Entry; 1] = [(
    "./proxy.toml",
    "Configuration file, if --config does not name another; gbg-proxy-config(1) prints one with every key",
)];

/// Print the manual page, or write the pages of all commands
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  gbg-proxy man | man -l -
  gbg-proxy man --dir /usr/local/share/man/man1")]
pub(super) struct Man {
    /// Write the pages of all commands, such as gbg-proxy-run.1, to this directory
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Man {
    pub(super) fn run(self, gbg_proxy: Command) -> Result<(), CommandError> {
        let mut gbg_proxy = gbg_proxy.disable_help_subcommand(true);
        gbg_proxy.build();
        match self.dir {
            None => print(page(&gbg_proxy, &gbg_proxy)?),
            Some(dir) => {
                std::fs::create_dir_all(&dir).map_err(|error| cannot_write(&dir, &error))?;
                write_pages(&gbg_proxy, &gbg_proxy, &dir)
            }
        }
    }
}

/// Writes the page of `command` and those of its subcommands.
fn write_pages(command: &Command, gbg_proxy: &Command, dir: &Path) -> Result<(), CommandError> {
    let path = dir.join(format!("{}.1", page_name(command)));
    std::fs::write(&path, page(command, gbg_proxy)?)
        .map_err(|error| cannot_write(&path, &error))?;
    command
        .get_subcommands()
        .try_for_each(|command| write_pages(command, gbg_proxy, dir))
}

fn cannot_write(path: &Path, error: &std::io::Error) -> CommandError {
    CommandError::Failed(format!("cannot write {}: {error}", path.display()))
}

fn page(command: &Command, gbg_proxy: &Command) -> Result<Vec<u8>, CommandError> {
    let man = clap_mangen::Man::new(command.clone())
        .source(concat!("gbg-proxy ", env!("GBG_PROXY_VERSION")))
        .manual("gbg-proxy manual");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut text)?;
    }
    let mut sections = Roff::new();
    add_examples(&mut sections, command);
    add_section(
        &mut sections,
        "EXIT STATUS",
        &exit_status(command.get_name()),
    );
    if let Some(environment) = environment(command.get_name()) {
        add_section(&mut sections, "ENVIRONMENT", &environment);
        add_section(&mut sections, "FILES", &FILES);
    }
    add_see_also(&mut sections, command, gbg_proxy);
    sections.to_writer(&mut text)?;
    Ok(text)
}

fn exit_status(name: &str) -> Vec<Entry> {
    match name {
        "doctor" => vec![
            ("0", "all steps passed"),
            ("1", "a step failed"),
            (
                "2",
                "incomplete: no step failed, but the credentials are not accessible here",
            ),
            USAGE,
        ],
        _ => vec![SUCCESS, ("1", "failure, such as a port in use"), USAGE],
    }
}

/// Returns the variables that a command with a configuration reads.
fn environment(name: &str) -> Option<Vec<Entry>> {
    match name {
        "run" => Some([&[CREDENTIALS, KEYS, COLOR][..], &SERVICE].concat()),
        "doctor" => Some(vec![CREDENTIALS, KEYS, COLOR]),
        "check" => Some(vec![CREDENTIALS, KEYS]),
        // It needs no secret.
        "wait" => Some(vec![KEYS]),
        _ => None,
    }
}

/// The name of a command's page, such as gbg-proxy-key-new.
fn page_name(command: &Command) -> &str {
    command
        .get_display_name()
        .unwrap_or_else(|| command.get_name())
}

/// The examples of `--help`, with their line breaks.
fn add_examples(roff: &mut Roff, command: &Command) {
    let Some(help) = command.get_after_help() else {
        return;
    };
    roff.control("SH", ["EXAMPLES"]).control("nf", []);
    for line in help.to_string().lines().skip(1) {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
}

fn add_section(roff: &mut Roff, title: &str, entries: &[Entry]) {
    roff.control("SH", [title]);
    for &(name, meaning) in entries {
        roff.control("TP", [])
            .text([bold(name)])
            .text([roman(meaning)]);
    }
}

/// The other pages: of the subcommands if there are any, else of those beside it.
fn add_see_also(roff: &mut Roff, command: &Command, gbg_proxy: &Command) {
    let mut names: Vec<_> = [gbg_proxy]
        .into_iter()
        .chain(gbg_proxy.get_subcommands())
        .chain(command.get_subcommands())
        .map(page_name)
        .filter(|name| *name != page_name(command))
        .collect();
    names.sort_unstable();
    names.dedup();
    let names: Vec<_> = names.iter().map(|name| format!("{name}(1)")).collect();
    roff.control("SH", ["SEE ALSO"])
        .text([roman(names.join(", "))]);
}
