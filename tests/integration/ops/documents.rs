//! Files for operators: alerts, dashboard and runbook name metrics that exist, manifests and units keys
//! that do.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gbg_proxy::config::{self, Sources};
use gbg_proxy::metrics::{ConnectionRefusal, Metrics};

use crate::support::tls::Identity;

pub(super) const ALERTS: &str = "deploy/prometheus/alerts.yml";
pub(super) const RUNBOOK: &str = "docs/operations.md";

pub(super) fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The name of every series that the proxy has or can have.
fn series() -> BTreeSet<String> {
    let text = Arc::new(Metrics::new(1)).open_metrics(true);
    let types = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    types
        .flat_map(|(name, kind)| {
            let ends: &[&str] = match kind {
                "counter" => &["_total"],
                "gauge" => &[""],
                "histogram" => &["_bucket", "_sum", "_count"],
                "info" => &["_info"],
                _ => panic!("{name} is a {kind}"),
            };
            ends.iter().map(move |end| format!("{name}{end}"))
        })
        .collect()
}

fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words
        .filter(|word| word.starts_with("gbg_proxy_") || word.starts_with("process_"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_documented_metric_exists() {
    let series = series();
    assert!(
        series.contains("gbg_proxy_token_expires_seconds"),
        "{series:?}"
    );
    let alerts_test = "deploy/prometheus/alerts_test.yml";
    for (path, least) in [
        (ALERTS, 8),
        (alerts_test, 5),
        ("deploy/grafana/gbg-proxy.json", 18),
        (RUNBOOK, 6),
        ("docs/status.md", 2),
    ] {
        let named = named(&read(path));
        let unknown: Vec<_> = named.difference(&series).collect();
        assert!(unknown.is_empty(), "{path} names {unknown:?}");
        assert!(named.len() >= least, "{path} names {named:?}");
    }
}

#[test]
fn every_reason_of_a_refused_connection_is_explained() {
    let runbook = read(RUNBOOK);
    let (_, section) = runbook.split_once("## Refused connections\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let explained: Vec<_> = rows.map(|(reason, _)| reason).collect();
    assert_eq!(
        explained,
        ConnectionRefusal::ALL.map(ConnectionRefusal::name)
    );
}

/// The pages of `docs/`, except the table of contents.
pub(super) fn pages() -> Vec<PathBuf> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let files = [docs.clone(), docs.join("adr")]
        .into_iter()
        .flat_map(|folder| std::fs::read_dir(folder).unwrap())
        .map(|entry| entry.unwrap().path());
    files
        .filter(|path| path.extension().is_some_and(|end| end == "md"))
        .filter(|path| !path.ends_with("SUMMARY.md"))
        .collect()
}

/// The links in `text` to other documents and to files.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let found = text.split("](").skip(1);
    found
        .filter_map(|rest| Some(rest.split_once(')')?.0))
        .filter(|link| !link.contains("://"))
}

#[test]
fn links_of_the_documents_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let outside = ["README.md", "CONTRIBUTING.md", "SECURITY.md"].map(|name| root.join(name));
    let mut count = 0;
    for document in pages().into_iter().chain(outside) {
        let text = std::fs::read_to_string(&document).unwrap();
        for link in links(&text) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let path = if file.is_empty() {
                document.clone()
            } else {
                document.parent().unwrap().join(file)
            };
            assert!(path.exists(), "{}: {link}", document.display());
            if !anchor.is_empty() {
                let text = std::fs::read_to_string(&path).unwrap();
                let mut headings = text
                    .lines()
                    .filter(|line| line.starts_with('#'))
                    .map(anchor_of);
                assert!(
                    headings.any(|heading| heading == anchor),
                    "{}: {link}",
                    document.display()
                );
            }
            count += 1;
        }
    }
    assert!(count > 90, "{count}");
}

/// A page that is not in the table of contents is not in the book.
#[test]
fn the_book_has_every_page_once() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let summary = read("docs/SUMMARY.md");
    let mut listed: Vec<_> = links(&summary).map(|link| docs.join(link)).collect();
    let mut pages = pages();
    pages.sort_unstable();
    listed.sort_unstable();
    assert_eq!(listed, pages);
    for page in pages {
        let text = std::fs::read_to_string(&page).unwrap();
        for link in links(&text) {
            // Documents outside `docs/` are not pages of the book; `.ci/docs` copies these.
            let outside = link.trim_start_matches("../");
            let is_copied = outside == "proxy.toml" || outside.starts_with("deploy/");
            assert!(
                outside == link || is_copied,
                "{}: {link}: link to a page of docs/, proxy.toml or deploy/",
                page.display()
            );
        }
    }
}

/// The anchor that GitHub makes of a heading.
fn anchor_of(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.collect::<String>().replace(' ', "-")
}

/// The gateway's configuration is one, but for the certificate that it finds there.
#[test]
fn the_gateway_configuration_is_valid() {
    let manifests = read("deploy/kubernetes/gateway.yaml");
    let (_, rest) = manifests.split_once("  proxy.toml: |\n").unwrap();
    let file = rest.split("---\n").next().unwrap();
    let identity = Identity::new();
    let file = file
        .replace(
            "/run/secrets/tls/tls.crt",
            identity.path("cert.pem").to_str().unwrap(),
        )
        .replace(
            "/run/secrets/tls/tls.key",
            identity.path("key.pem").to_str().unwrap(),
        )
        .replace("file:/run/secrets/gbg/", "env:");
    let path = identity.path("proxy.toml");
    std::fs::write(&path, file).unwrap();
    let env = [("client-id", "a"), ("client-secret", "b")]
        .map(|(name, value)| (name.into(), value.into()));

    let loaded = config::load(&Sources {
        file: Some(path),
        env: env.into(),
        set: Vec::new(),
    })
    .unwrap();

    assert_eq!(loaded.config.callers.len(), 1);
    // The certificate of the test is for localhost.
    let expected =
        |warning: &&String| !warning.starts_with("listen.tls.cert: the certificate covers none");
    assert_eq!(loaded.warnings.iter().find(expected), None);
}

/// What manifests and units put into the environment are keys.
#[test]
fn the_variables_of_manifests_and_units_are_keys() {
    let mut found = 0;
    for path in [
        "deploy/kubernetes/sidecar.yaml",
        "deploy/kubernetes/gateway.yaml",
        "deploy/systemd/gbg-proxy.service",
    ] {
        let text = read(path);
        let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        for word in words.filter(|word| word.starts_with("GBG_PROXY_")) {
            let known =
                |key: &String| key.replace('.', "_").to_uppercase() == word["GBG_PROXY_".len()..];
            assert!(config::keys().iter().any(known), "{path}: {word}");
            found += 1;
        }
    }
    assert!(found >= 8, "{found}");
}

/// The image's layer of dependencies is built without source: of that it makes what the manifest
/// names.
#[test]
fn the_dockerfile_lists_every_bench() {
    let (manifest, image) = (read("Cargo.toml"), read("Dockerfile"));
    let manifest: toml::Table = manifest.parse().unwrap();
    let benches = manifest["bench"].as_array().unwrap();
    assert!(!benches.is_empty());
    for bench in benches {
        let file = format!("benches/{}.rs", bench["name"].as_str().unwrap());
        assert!(image.contains(&file), "{file}");
    }
}
