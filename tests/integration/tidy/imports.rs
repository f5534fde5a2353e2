//! Import rules: no arrow between modules that the architecture does not draw, no circle between
//! files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{root, sources};

type ModulePath = Vec<String>;

/// The source files, each with the paths that it imports.
struct Imports {
    /// File of each module, relative to `src`.
    files: BTreeMap<ModulePath, String>,
    /// Absolute paths that a module imports.
    imported: BTreeMap<ModulePath, Vec<ModulePath>>,
    /// Names that a module re-exports, with their absolute paths.
    reexported: BTreeMap<ModulePath, BTreeMap<String, ModulePath>>,
}

impl Imports {
    fn read() -> Imports {
        let source = root().join("src");
        let texts = sources(&source).into_iter().map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            (path.strip_prefix(&source).unwrap().to_owned(), text)
        });
        Imports::of(texts)
    }

    fn of(texts: impl IntoIterator<Item = (impl AsRef<Path>, String)>) -> Imports {
        let texts: Vec<(String, String)> = texts
            .into_iter()
            .map(|(path, text)| (path.as_ref().to_str().unwrap().to_owned(), code(&text)))
            .filter(|(file, _)| !file.ends_with("tests.rs") && !file.contains("/tests/"))
            .collect();
        let files: BTreeMap<_, _> = texts
            .iter()
            .map(|(file, _)| (module_of(file), file.clone()))
            .collect();
        let mut imports = Imports {
            files,
            imported: BTreeMap::new(),
            reexported: BTreeMap::new(),
        };
        for (file, text) in &texts {
            let module = module_of(file);
            let mut imported = Vec::new();
            let mut reexported = BTreeMap::new();
            for (is_public, tree) in use_declarations(text) {
                for (path, name) in leaves(tree) {
                    let Some(path) = imports.absolute(&module, &path) else {
                        continue;
                    };
                    if is_public {
                        reexported.insert(name, path.clone());
                    }
                    imported.push(path);
                }
            }
            let paths = expression_paths(text);
            imported.extend(paths.filter_map(|path| imports.absolute(&module, &path)));
            imports.imported.insert(module.clone(), imported);
            imports.reexported.insert(module, reexported);
        }
        imports
    }

    /// The path from the root of the crate; `None` for a path into another crate.
    fn absolute(&self, module: &[String], path: &[String]) -> Option<ModulePath> {
        let climbs = path.iter().take_while(|&name| name == "super").count();
        let (base, rest) = match path[0].as_str() {
            "crate" | "gbg_proxy" => (&[][..], &path[1..]),
            "self" => (module, &path[1..]),
            "super" => (
                &module[..module.len().checked_sub(climbs)?],
                &path[climbs..],
            ),
            child
                if self
                    .files
                    .contains_key(&[module, &[child.to_owned()]].concat()) =>
            {
                (module, path)
            }
            _ => return None,
        };
        Some([base, rest].concat())
    }

    /// The module that defines what `path` names, through re-exports.
    fn defining(&self, path: &[String]) -> Option<&ModulePath> {
        let (module, rest) = (0..=path.len()).rev().find_map(|end| {
            let (module, _) = self.files.get_key_value(&path[..end])?;
            Some((module, &path[end..]))
        })?;
        match rest
            .first()
            .and_then(|name| self.reexported[module].get(name))
        {
            Some(target) if target != path => self.defining(&[target, &rest[1..]].concat()),
            _ => Some(module),
        }
    }

    /// The arrows between files. One to a parent is left out: a module is a part of its parent.
    fn arrows(&self) -> BTreeMap<&ModulePath, BTreeSet<&ModulePath>> {
        let arrows = self.imported.iter().map(|(from, paths)| {
            let targets = paths.iter().filter_map(|path| self.defining(path));
            (from, targets.filter(|to| !from.starts_with(to)).collect())
        });
        arrows.collect()
    }

    /// Circles: each file that reaches itself, with the files that it reaches and that reach it.
    fn circles(&self) -> Vec<Vec<&str>> {
        let arrows = self.arrows();
        let reached = |from| {
            let mut seen = BTreeSet::new();
            let mut next = vec![from];
            while let Some(file) = next.pop() {
                next.extend(arrows[file].iter().filter(|to| seen.insert(**to)));
            }
            seen
        };
        let reached: BTreeMap<_, _> = arrows.keys().map(|file| (*file, reached(*file))).collect();
        let circles: BTreeSet<Vec<&str>> = reached
            .iter()
            .filter(|(file, to)| to.contains(**file))
            .map(|(file, to)| {
                let members = to.iter().filter(|other| reached[**other].contains(*file));
                members.map(|member| self.files[*member].as_str()).collect()
            })
            .collect();
        circles.into_iter().collect()
    }
}

fn module_of(file: &str) -> ModulePath {
    let path = file.trim_end_matches(".rs");
    let path = path.strip_suffix("/mod").unwrap_or(path);
    if path == "lib" {
        return Vec::new();
    }
    path.split('/').map(str::to_owned).collect()
}

/// `text` without comments, test modules and visibilities that name a path.
fn code(text: &str) -> String {
    let lines = text.lines().map(|line| line.split("//").next().unwrap());
    let mut code = lines.collect::<Vec<_>>().join("\n");
    for test in [
        "#[cfg(test)]\nmod tests {",
        "#[cfg(test)]\npub(crate) mod tests {",
    ] {
        if let Some(at) = code.find(test) {
            code.truncate(at);
        }
    }
    let mut parts = code.split("#[cfg(test)]\n");
    let mut rest = parts.next().unwrap().to_owned();
    for part in parts {
        // A declaration for tests ends with its semicolon; an item has a block before that.
        let declaration = part.split_once(';').filter(|(item, _)| !item.contains('{'));
        rest.push_str(declaration.map_or(part, |(_, after)| after));
    }
    while let Some(at) = rest.find("(in ") {
        let end = rest[at..].find(')').unwrap();
        rest.replace_range(at..=at + end, "");
    }
    rest
}

/// Every `use`, without its semicolon, and whether it is public.
fn use_declarations(text: &str) -> impl Iterator<Item = (bool, &str)> {
    statements(text).filter_map(|(start, statement)| {
        let tree = statement.trim_start().strip_prefix("use ")?;
        let line = text[..start].rsplit('\n').next().unwrap_or_default();
        Some((line.trim_start().starts_with("pub"), tree))
    })
}

/// The text from every `use ` at the beginning of a declaration to its semicolon, with its offset.
fn statements(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.match_indices("use ").filter_map(|(at, _)| {
        let line = text[..at].rsplit('\n').next().unwrap_or_default().trim();
        let is_declaration = line.is_empty() || (line.starts_with("pub") && !line.contains(' '));
        let end = text[at..].find(';')?;
        is_declaration.then(|| (at, &text[at..at + end]))
    })
}

/// The paths that a `use` tree names, each with the name that it gets.
fn leaves(tree: &str) -> Vec<(ModulePath, String)> {
    let tree = tree.trim();
    if let Some((prefix, list)) = tree.split_once('{') {
        let list = list.trim_end().strip_suffix('}').unwrap();
        let prefix = split(prefix);
        return items(list)
            .into_iter()
            .flat_map(leaves)
            .map(|(path, name)| ([prefix.clone(), path].concat(), name))
            .map(|(mut path, name)| {
                // `a::{self}` names `a`.
                if path.len() > 1 && path.last().is_some_and(|name| name == "self") {
                    path.pop();
                }
                (path, name)
            })
            .collect();
    }
    let (path, alias) = tree.split_once(" as ").unwrap_or((tree, ""));
    let path = split(path);
    let name = if alias.is_empty() {
        path.last().unwrap()
    } else {
        alias
    };
    vec![(path.clone(), name.trim().to_owned())]
}

/// The members of a list, which may have lists in them.
fn items(list: &str) -> Vec<&str> {
    let (mut depth, mut start, mut items) = (0, 0, Vec::new());
    for (at, letter) in list.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                items.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    items.push(&list[start..]);
    items.retain(|item| !item.trim().is_empty());
    items
}

fn split(path: &str) -> ModulePath {
    let names = path.split("::").map(str::trim);
    names
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The paths from the crate, the parent or the module itself that expressions and types name.
fn expression_paths(text: &str) -> impl Iterator<Item = ModulePath> {
    let is_name = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == ':';
    text.split(move |letter| !is_name(letter))
        .filter_map(|word| {
            let begins = ["crate::", "gbg_proxy::", "super::", "self::"]
                .iter()
                .any(|root| word.starts_with(root));
            begins.then(|| split(word))
        })
}

/// The arrows that the architecture draws.
fn drawn_arrows() -> BTreeMap<String, BTreeSet<String>> {
    let document = std::fs::read_to_string(root().join("docs/ARCHITECTURE.md")).unwrap();
    let rules = document.split("## Import rules").nth(1).unwrap();
    let arrows = rules.lines().filter_map(|line| line.split_once(" → "));
    let names = |list: &str| -> BTreeSet<String> {
        let names = list.split(',').map(|name| name.trim().to_owned());
        names.filter(|name| name != "none").collect()
    };
    let mut drawn = BTreeMap::new();
    for (from, to) in arrows {
        drawn.extend(names(from).into_iter().map(|from| (from, names(to))));
    }
    drawn
}

#[test]
fn modules_import_what_the_architecture_draws() {
    let imports = Imports::read();
    let drawn = drawn_arrows();
    let mut used: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (from, targets) in imports.arrows() {
        let Some(room) = from.first() else { continue };
        let allowed = drawn
            .get(room)
            .unwrap_or_else(|| panic!("docs/ARCHITECTURE.md draws no arrow from {room}"));
        for to in targets
            .iter()
            .filter_map(|to| to.first())
            .filter(|to| *to != room)
        {
            used.entry(room.clone()).or_default().insert(to.clone());
            if !allowed.contains(to) {
                wrong.push(format!("{}: {room} → {to}", imports.files[from]));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "arrows that are not drawn:\n{}",
        wrong.join("\n")
    );
    for (from, targets) in drawn {
        for to in targets {
            let is_used = used.get(&from).is_some_and(|used| used.contains(&to));
            assert!(
                is_used,
                "docs/ARCHITECTURE.md draws {from} → {to}, which nothing uses"
            );
        }
    }
}

#[test]
fn no_circle_between_files() {
    let imports = Imports::read();
    let circles = imports.circles();
    assert!(circles.is_empty(), "{circles:#?}");
}

/// The test above can fail: through a re-export, a list, an expression and a parent.
#[test]
fn circles_are_found_in_every_form() {
    let of = |files: &[(&str, &str)]| {
        let files = files.iter().map(|(file, text)| (*file, (*text).to_owned()));
        let imports = Imports::of(files);
        let circles = imports.circles().into_iter();
        circles
            .map(|circle| circle.into_iter().map(str::to_owned).collect::<Vec<_>>())
            .collect::<Vec<_>>()
    };
    let lib = ("lib.rs", "mod a;\nmod b;\n");
    let room = (
        "a/mod.rs",
        "mod x;\nmod y;\npub(crate) use self::x::{X, Other as Y};\n",
    );
    let circle = [["a/x.rs".to_owned(), "a/y.rs".to_owned()].to_vec()];
    let x = ("a/x.rs", "use super::y::Z;\n");
    for y in [
        "use super::x::X;",
        "use super::{Y, y};",
        "use crate::a::X;",
        "use crate::{\n    a::{x::{self, X}},\n    b,\n};",
        "fn f() { crate::a::x::f() }",
        "use super::X as Renamed;",
    ] {
        assert_eq!(
            of(&[lib, room, x, ("a/y.rs", y), ("b.rs", "")]),
            circle,
            "{y}"
        );
    }
    for y in [
        "// use super::x::X;",
        "#[cfg(test)]\nuse super::x::X;\n",
        "#[cfg(test)]\nmod tests {\n    use super::super::x::X;\n}",
        "pub(in crate::a::x) fn f() {}",
        "use super::Own;",
    ] {
        assert!(
            of(&[lib, room, x, ("a/y.rs", y), ("b.rs", "")]).is_empty(),
            "{y}"
        );
    }
}
