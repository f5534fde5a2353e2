//! Names that are written and are not keys, with the nearest key.

use toml::de::{DeTable, DeValue};

use super::error::ValueSource;
use super::keys::{LIST, is_key, keys, pattern, sections};
use super::sections::caller::parse_caller_name;
use super::source::findings::Findings;
use super::source::layers::Layers;
use super::source::nearest::nearest;
use super::source::variable::{ENV_PREFIX, is_service_link, names_caller, set_value, variable};
use super::source::visible::is_name;
use crate::secret::Environment;

/// Rejects unknown keys of the file.
pub(crate) fn check_file(layers: &Layers<'_>, findings: &Findings) {
    let sections = sections();
    let mut tables: Vec<(String, &DeTable<'_>)> = vec![(String::new(), layers.root())];
    while let Some((section, table)) = tables.pop() {
        for (name, value) in table {
            let path = join(&section, name.get_ref());
            let pattern = pattern(&path);
            match value.get_ref() {
                DeValue::Array(items) if path == LIST => {
                    let items = items.iter().enumerate();
                    tables.extend(items.filter_map(|(index, item)| {
                        Some((format!("{path}[{index}]"), item.get_ref().as_table()?))
                    }));
                }
                DeValue::Table(table) if path != LIST && sections.contains(&pattern.as_str()) => {
                    tables.push((path, table));
                }
                // Another value in place of a section is rejected when the section is read.
                _ if sections.contains(&pattern.as_str()) || is_key(&pattern) => {}
                _ => {
                    let entry = entry_of(layers, &path);
                    reject(findings, &path, entry, layers.position(name.span().start));
                }
            }
        }
    }
}

/// Rejects assignments of `--set` to unknown keys.
pub(crate) fn check_set(set: &[String], findings: &Findings) {
    for assignment in set {
        let Some((key, _)) = assignment.split_once('=') else {
            let fix = "write --set section.key=value, such as --set log.level=debug";
            findings.reject_at("", ValueSource::Set, "the \"=\" is missing", fix);
            continue;
        };
        let key = key.trim();
        let is_of_caller = key
            .strip_prefix(LIST)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
        if is_of_caller {
            reject_caller(findings, ValueSource::Set);
        } else if !is_key(key) {
            reject(findings, key, None, ValueSource::Set);
        }
    }
}

/// Warns of variables that set no key, because of their name or because they are empty.
pub(crate) fn check_environment(env: &Environment, findings: &Findings) {
    let names: Vec<String> = keys().iter().map(|key| variable(key)).collect();
    let of_callers = variable("caller.");
    let ours = env
        .range(ENV_PREFIX.to_owned()..)
        .take_while(|(name, _)| name.starts_with(ENV_PREFIX));
    for (name, value) in ours {
        let is_key = names.contains(name);
        if is_service_link(name, value) && !is_key {
            continue;
        }
        let is_of_caller = name.starts_with(&of_callers) && is_key;
        if is_of_caller || (!is_key && names_caller(name)) {
            reject_caller(findings, ValueSource::Env(name.clone()));
        } else if !is_key {
            let known = names.iter().map(String::as_str);
            let near = nearest(name, known.filter(|name| !name.starts_with(&of_callers)));
            let hint = near.map_or_else(String::new, |near| format!("; did you mean {near}?"));
            findings.warn(format!(
                "the environment variable {name} sets no key and is ignored{hint}"
            ));
        } else if set_value(value).is_none() {
            findings.warn(format!(
                "the environment variable {name} is empty and is ignored"
            ));
        }
    }
}

fn reject_caller(findings: &Findings, origin: ValueSource) {
    findings.reject_at(
        LIST,
        origin,
        "callers can only be defined in the configuration file",
        "write [[caller]] in the file that --config names; the SHA-256 of a key is not a secret and may be written there",
    );
}

/// A caller that an unknown key belongs to.
struct CallerEntryName<'p> {
    /// `caller "crm"`, or, without a usable name, `caller 2`.
    label: String,
    section: &'p str,
    name: &'p str,
}

fn entry_of<'p>(layers: &Layers<'_>, path: &'p str) -> Option<CallerEntryName<'p>> {
    let (section, name) = path.split_once("].")?;
    let index: usize = section
        .strip_prefix(LIST)?
        .strip_prefix('[')?
        .parse()
        .ok()?;
    let entries = layers.root().get(LIST)?.get_ref().as_array()?;
    let caller = entries.get(index)?.get_ref().as_table()?.get("name");
    let caller = caller.and_then(|name| name.get_ref().as_str());
    let label = match caller.map(parse_caller_name) {
        Some(Ok(caller)) => format!("{LIST} {caller:?}"),
        _ => format!("{LIST} {}", index + 1),
    };
    Some(CallerEntryName {
        label,
        section: &path[..=section.len()],
        name,
    })
}

/// Rejects the unknown key `path`. A name that may hold a secret is not shown; its caller is.
fn reject(
    findings: &Findings,
    path: &str,
    entry: Option<CallerEntryName<'_>>,
    origin: ValueSource,
) {
    let sections = sections();
    if sections.contains(&path) {
        let fix = match origin {
            ValueSource::Set => format!("write --set {path}.KEY=…"),
            _ => format!("write its keys below a line [{path}]"),
        };
        findings.reject_at(path, origin, "this is a section, and takes no value", fix);
        return;
    }
    let keys = keys();
    let fix = match &entry {
        Some(entry) => nearest_of_caller(findings, entry, keys),
        None => nearest_key(findings, path, &origin, keys, sections),
    };
    let (key, message) = match (is_name(path), &entry) {
        (true, Some(entry)) => (
            format!("{}: {}", entry.label, entry.name),
            "there is no such key",
        ),
        (true, None) => (path.to_owned(), "there is no such key"),
        (false, entry) => (
            entry
                .as_ref()
                .map_or_else(String::new, |entry| entry.label.clone()),
            "there is no such key (it is not shown: it may be a secret)",
        ),
    };
    findings.reject_unknown(key, origin, message, fix);
}

/// Only a key of the same caller can be meant.
fn nearest_of_caller(findings: &Findings, entry: &CallerEntryName<'_>, keys: &[String]) -> String {
    let begin = format!("{LIST}.");
    let names: Vec<_> = keys
        .iter()
        .filter_map(|key| key.strip_prefix(&begin))
        .collect();
    match nearest(entry.name, names.iter().copied()) {
        Some(near) => {
            findings.record_misspelt(format!("{}.{near}", entry.section));
            format!("did you mean {near}?")
        }
        None => format!("the keys of a caller are {}", names.join(", ")),
    }
}

fn nearest_key(
    findings: &Findings,
    path: &str,
    origin: &ValueSource,
    keys: &[String],
    sections: &[&str],
) -> String {
    let own = path
        .rsplit_once('.')
        .filter(|(section, _)| sections.contains(section));
    let name = own.map_or(path, |(_, name)| name);
    // In another section, or above the first section header.
    let ending = format!(".{name}");
    let owners: Vec<_> = keys
        .iter()
        .filter_map(|key| key.strip_suffix(&ending))
        .collect();
    if own.is_some() && !owners.is_empty() {
        return move_to(findings, &owners, &ending, origin);
    }
    if let Some((section, name)) = own {
        let begin = format!("{section}.");
        let keys = keys.iter().map(String::as_str);
        let names = keys.chain(sections.iter().copied());
        if let Some(near) = nearest(name, names.filter_map(|name| name.strip_prefix(&begin))) {
            findings.record_misspelt(format!("{begin}{near}"));
            return format!("did you mean {begin}{near}?");
        }
    }
    if !owners.is_empty() {
        return move_to(findings, &owners, &ending, origin);
    }
    if let Some((section, _)) = own {
        let begin = format!("{section}.");
        let names = keys.iter().filter_map(|key| key.strip_prefix(&begin));
        let names: Vec<_> = names.filter(|name| !name.contains('.')).collect();
        return format!("the keys of [{section}] are {}", names.join(", "));
    }
    let known = keys.iter().map(String::as_str);
    match nearest(path, known.chain(sections.iter().copied())) {
        Some(near) => {
            findings.record_misspelt(near.to_owned());
            match near {
                LIST => format!("did you mean [[{near}]]?"),
                _ => format!("did you mean {near}?"),
            }
        }
        None => format!("the sections are {}", sections.join(", ")),
    }
}

/// The fix for a key that belongs into one of the sections `owners`.
fn move_to(findings: &Findings, owners: &[&str], ending: &str, origin: &ValueSource) -> String {
    for owner in owners {
        findings.record_misspelt(format!("{owner}{ending}"));
    }
    let listed: Vec<_> = match origin {
        ValueSource::Set => owners
            .iter()
            .filter(|owner| **owner != LIST)
            .map(|owner| format!("--set {owner}{ending}=…"))
            .collect(),
        _ => owners
            .iter()
            .map(|owner| match *owner {
                LIST => format!("[[{LIST}]]"),
                owner => format!("[{owner}]"),
            })
            .collect(),
    };
    match (origin, listed.as_slice()) {
        (ValueSource::Set, []) => format!("write it below a line [[{LIST}]] in the file"),
        (ValueSource::Set, _) => format!("write {}", listed.join(" or ")),
        _ => format!("write it below a line {}", listed.join(" or ")),
    }
}

/// The path of `name` in `section`. A name with a dot is quoted: `"token.scope"` in quotes is one
/// name in TOML, and not a key.
fn join(section: &str, name: &str) -> String {
    let name = if name.contains(['.', '[']) {
        format!("{name:?}")
    } else {
        name.to_owned()
    };
    if section.is_empty() {
        name
    } else {
        format!("{section}.{name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(path: &str, caller: Option<(&str, &str)>) -> String {
        let findings = Findings::default();
        let entry = caller.map(|(label, name)| CallerEntryName {
            label: label.to_owned(),
            section: "caller[1]",
            name,
        });
        reject(&findings, path, entry, ValueSource::Default);
        findings.finish().unwrap_err().to_string()
    }

    #[test]
    fn a_hidden_name_still_gets_its_fix() {
        const HIDDEN: &str = "there is no such key (it is not shown: it may be a secret)";
        const KEY: &str = "gbgp_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8l4rjr-";
        for (path, fix) in [
            ("listen address", "did you mean listen.address?"),
            ("listen/address", "did you mean listen.address?"),
            ("token:hunter2-hunter2-hunter2", "the sections are "),
            (KEY, "the sections are "),
            ("caller[hunter2].a b", "the sections are "),
        ] {
            let error = error(path, None);
            let expected = format!("built-in default: {HIDDEN}\n  fix: {fix}");
            assert!(error.starts_with(&expected), "{path}: {error}");
        }
        for (name, fix) in [
            ("key sha256", "did you mean key_sha256?"),
            ("hunter 2", "the keys of a caller are "),
            (KEY, "the keys of a caller are "),
        ] {
            let error = error(&format!("caller[1].{name}"), Some(("caller 2", name)));
            let expected = format!("built-in default: caller 2: {HIDDEN}\n  fix: {fix}");
            assert!(error.starts_with(&expected), "{name}: {error}");
        }
        assert_eq!(
            error("caller[1].rat", Some(("caller \"crm\"", "rat"))),
            "built-in default: caller \"crm\": rat: there is no such key\n  fix: did you mean rate?"
        );
    }

    #[test]
    fn a_key_without_its_section_names_it() {
        for (path, fix) in [
            ("scope", "write it below a line [token]"),
            ("address", "write it below a line [listen] or [admin]"),
            ("rate", "write it below a line [[caller]]"),
            ("upstream.client_id", "write it below a line [token]"),
            ("callers", "did you mean [[caller]]?"),
            ("cert", "write it below a line [listen.tls]"),
            ("zzz", "the sections are "),
        ] {
            let error = error(path, None);
            assert!(error.contains(fix), "{path}: {error}");
        }
    }
}
