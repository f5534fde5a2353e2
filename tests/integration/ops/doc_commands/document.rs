//! Commands and configuration files in documents, manifests and units.

use std::path::Path;

use crate::ops::documents::{pages, read};

/// A part of a document, in the order of the document.
pub(super) enum Step {
    /// A command, and the output that the document shows below it.
    Command { line: String, output: String },
    /// A configuration file.
    Toml(String),
}

/// A document with its commands and configuration files.
pub(super) struct Document {
    pub(super) name: String,
    pub(super) steps: Vec<Step>,
    /// Command lines in the text.
    pub(super) inline: Vec<String>,
}

pub(super) fn documents() -> Vec<Document> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut names: Vec<_> = pages()
        .iter()
        .map(|path| {
            path.strip_prefix(root)
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    names.extend(["README.md", "CONTRIBUTING.md"].map(str::to_owned));
    names.sort_unstable();
    let markdown = names.into_iter().map(|name| {
        let text = read(&name);
        let (blocks, rest) = split_blocks(&text);
        Document {
            name,
            steps: blocks
                .iter()
                .flat_map(|(kind, text)| steps(kind, text))
                .collect(),
            inline: inline_commands(&rest),
        }
    });
    let manifests = [
        "deploy/kubernetes/gateway.yaml",
        "deploy/kubernetes/sidecar.yaml",
        "deploy/systemd/gbg-proxy.service",
        "deploy/systemd/gbg-proxy.socket",
    ];
    markdown.chain(manifests.map(commented)).collect()
}

/// The commands in the comments of a manifest: lines that are indented.
fn commented(name: &str) -> Document {
    let text = read(name);
    let comments: Vec<_> = text
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix('#'))
        .collect();
    let commands = comments.iter().filter_map(|line| line.strip_prefix("   "));
    Document {
        name: name.to_owned(),
        steps: commands
            .map(|line| Step::Command {
                line: line.trim().to_owned(),
                output: String::new(),
            })
            .collect(),
        inline: inline_commands(&comments.join("\n")),
    }
}

/// The fenced blocks of a document with their kind, without indentation, and the text around them.
fn split_blocks(text: &str) -> (Vec<(String, String)>, String) {
    let (mut blocks, mut rest) = (Vec::new(), String::new());
    let mut block: Option<(String, String, usize)> = None;
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        match (&mut block, line.trim_start().strip_prefix("```")) {
            (None, Some(kind)) => block = Some((kind.to_owned(), String::new(), indent)),
            (None, None) => rest += &format!("{line}\n"),
            (Some(_), Some(_)) => blocks.extend(block.take().map(|(kind, text, _)| (kind, text))),
            (Some((_, text, indent)), None) => {
                *text += &format!("{}\n", line.get(*indent..).unwrap_or_default());
            }
        }
    }
    (blocks, rest)
}

fn steps(kind: &str, text: &str) -> Vec<Step> {
    if kind == "toml" {
        return vec![Step::Toml(text.to_owned())];
    }
    if !["console", "sh"].contains(&kind) {
        return Vec::new();
    }
    let mut steps = Vec::new();
    for shown in text.replace("\\\n", "").lines() {
        let command = ["$ ", "# "]
            .iter()
            .find_map(|prompt| shown.strip_prefix(prompt));
        match (command, steps.last_mut()) {
            (Some(line), _) => {
                steps.push(Step::Command {
                    line: line.to_owned(),
                    output: String::new(),
                });
            }
            (None, Some(Step::Command { output, .. })) => *output += &format!("{shown}\n"),
            (None, _) => panic!("a line of output without a command: {shown}"),
        }
    }
    steps
}

/// The command lines in backticks.
fn inline_commands(text: &str) -> Vec<String> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted
        .map(|words| words.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|command| command.starts_with("gbg-proxy "))
        .collect()
}
