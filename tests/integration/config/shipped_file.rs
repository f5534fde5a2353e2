//! `proxy.toml` as it is shipped: every key, with its default.

use gbg_proxy::config::{self, Config, Sources, is_reloadable};

use crate::support::environment;

const SHIPPED: &str = include_str!("../../../proxy.toml");

fn load(file: Option<&str>) -> Config {
    config::load(&Sources {
        file: file.map(Into::into),
        env: environment(),
        set: Vec::new(),
    })
    .unwrap()
    .config
}

/// Commented keys are keys as well: the file with each of them.
fn uncommented() -> toml::Table {
    let all = SHIPPED.lines().map(|line| {
        let bare = line.strip_prefix("# ").unwrap_or(line);
        if bare.starts_with('[')
            || bare
                .split_once(" = ")
                .is_some_and(|(key, _)| !key.contains([' ', '"']))
        {
            bare
        } else {
            ""
        }
    });
    all.collect::<Vec<_>>().join("\n").parse().unwrap()
}

#[test]
fn its_values_are_the_defaults() {
    let shipped = load(Some(concat!(env!("CARGO_MANIFEST_DIR"), "/proxy.toml")));
    assert_eq!(format!("{shipped:?}"), format!("{:?}", load(None)));
}

#[test]
fn it_lists_every_key() {
    let mut named = Vec::new();
    collect_keys("", &uncommented(), &mut named);
    named.sort();
    let mut known = config::keys().to_vec();
    known.sort();
    assert_eq!(named, known);
}

fn collect_keys(section: &str, table: &toml::Table, keys: &mut Vec<String>) {
    for (name, value) in table {
        let path = if section.is_empty() {
            name.clone()
        } else {
            format!("{section}.{name}")
        };
        match value {
            // An empty one is a value, such as token.params.
            toml::Value::Table(inner) if !inner.is_empty() => collect_keys(&path, inner, keys),
            toml::Value::Array(items) if items.iter().any(toml::Value::is_table) => {
                let tables = items.iter().filter_map(toml::Value::as_table);
                tables.for_each(|table| collect_keys(&path, table, keys));
            }
            _ => keys.push(path),
        }
    }
}

/// The shipped example of a caller is a caller, but for what it needs around it.
#[test]
fn its_example_caller_is_valid() {
    let mut caller = uncommented()["caller"].as_array().unwrap()[0]
        .as_table()
        .unwrap()
        .clone();
    let mut config = toml::Table::new();
    for needs_more in ["certificate", "uid"] {
        assert!(caller.remove(needs_more).is_some());
    }
    config.insert("caller".to_owned(), toml::Value::Array(vec![caller.into()]));
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("proxy.toml");
    std::fs::write(&file, config.to_string()).unwrap();

    let callers = load(file.to_str()).callers;

    assert_eq!(
        callers
            .iter()
            .map(|caller| caller.name.as_str())
            .collect::<Vec<_>>(),
        ["crm"]
    );
    let rate = callers[0].rate.unwrap();
    assert_eq!(
        (rate.requests.get(), rate.per.as_secs(), rate.burst.get()),
        (100, 1, 20)
    );
}

/// `docs/configuration.md` is made of the file. After a change: `BLESS=1 cargo test
/// the_reference_is_generated_from_it`.
#[test]
fn the_reference_is_generated_from_it() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
    let reference = reference();
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, &reference).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(path).unwrap(),
        reference,
        "BLESS=1 cargo test the_reference_is_generated_from_it"
    );
}

fn reference() -> String {
    const HEAD: &str = "# Configuration\n\nGenerated from [`proxy.toml`](../proxy.toml), which you can use as it is. A value comes from \
        `--set section.key=value`, else\nfrom the environment variable `GBG_PROXY_SECTION_KEY`, else from the file, else it is the \
        default. Callers can only be\ndefined in the file. `gbg-proxy check --all` shows every key with its effective value and source.\n";
    let mut text = HEAD.to_owned();
    let mut section = "";
    let mut comment: Vec<&str> = Vec::new();
    let first = SHIPPED.find("\n[").unwrap();
    for line in SHIPPED[first..].lines() {
        let bare = line.strip_prefix("# ").unwrap_or(line);
        if bare.starts_with('[') && bare.ends_with(']') {
            let about = comment.join(" ");
            text += &format!(
                "\n## `{bare}`\n\n{about}{}",
                if about.is_empty() { "" } else { "\n\n" }
            );
            section = bare.trim_matches(['[', ']']);
            text += "| key | default | |\n| --- | --- | --- |\n";
            comment.clear();
            continue;
        }
        match bare
            .split_once(" = ")
            .filter(|(key, _)| !key.contains([' ', '"']))
        {
            Some((key, value)) => {
                let value = value.split("  #").next().unwrap().trim();
                let value = if line == bare {
                    format!("`{value}`")
                } else {
                    format!("such as `{value}`")
                };
                let about = comment.join(" ").replace('|', "\\|");
                let restart = if is_reloadable(&format!("{section}.{key}")) {
                    ""
                } else {
                    " *Needs a restart.*"
                };
                let about = format!("{about}{restart}");
                text += &format!("| `{key}` | {value} | {} |\n", about.trim_start());
                comment.clear();
            }
            None if line.is_empty() => comment.clear(),
            None => comment.extend(line.strip_prefix("# ")),
        }
    }
    text
}
