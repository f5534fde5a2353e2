//! Every section, read in the order in which they depend on each other.

use super::source::findings::Findings;
use super::source::section::Reader;
use super::{Admin, Config, Drain, Limits, Listen, Log, Token, Trace, cross_checks};
use crate::config::sections::caller::{self, CallerEntry};
use crate::config::sections::listen::CallerSummary;
use crate::config::sections::upstream::UpstreamSettings;
use crate::secret::Environment;

/// Reads the whole configuration; `None` if a required part of it has an error, or if the reader only
/// declares keys.
pub(crate) fn read(reader: &Reader<'_>, findings: &Findings, env: &Environment) -> Option<Config> {
    let entries: Vec<_> = reader
        .entries("caller")
        .into_iter()
        .map(CallerEntry::read)
        .collect();
    let summary = CallerSummary {
        is_empty: entries.is_empty() && !findings.has_error("caller"),
        has_keys: entries.iter().any(CallerEntry::has_key),
    };
    let listen = Listen::read(&reader.section("listen"), summary);
    let settings = UpstreamSettings::read(&reader.section("upstream"), env, listen.header_case);
    let token = Token::read(&reader.section("token"), &settings, env);
    let callers = caller::check(entries, &listen, &settings.forward);
    let admin = Admin::read(&reader.section("admin"), &listen);
    let limits = Limits::read(&reader.section("limits"));
    let log = Log::read(&reader.section("log"));
    let trace = Trace::read(&reader.section("trace"));
    let drain = Drain::read(&reader.section("drain"));
    let config = Config {
        listen,
        upstream: settings.upstream?,
        forward: settings.forward,
        token: token?,
        callers,
        limits,
        admin,
        log,
        trace,
        drain,
    };
    for defect in cross_checks::defects(&config) {
        findings.add_defect(defect);
    }
    for warning in cross_checks::warnings(&config) {
        findings.warn(warning);
    }
    Some(config)
}
