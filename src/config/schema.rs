//! JSON Schema of the configuration file, for editors: made of the table of keys and of the comments
//! of the default file.

use serde_json::{Map, Value, json};

use super::keys::{KEYS, LIST};
use super::source::setting::Kind;

/// The configuration file with every key, its default and a comment.
pub const DEFAULT_FILE: &str = include_str!("../../proxy.toml");

/// The JSON Schema (draft 7) of the configuration file.
pub fn schema() -> Value {
    let mut sections = Map::new();
    for key in KEYS.iter() {
        let mut names = key.path.split('.');
        let (Some(section), Some(mut name)) = (names.next(), names.next()) else {
            continue;
        };
        let entry = sections.entry(section).or_insert_with(|| object(false));
        let mut properties = &mut entry["properties"];
        for inner in names {
            let table = &mut properties[name];
            if table.is_null() {
                *table = object(false);
            }
            properties = &mut table["properties"];
            name = inner;
        }
        let mut property = of_kind(key.kind);
        if let Some(comment) = comment(&key.path) {
            property["description"] = comment.into();
        }
        properties[name] = property;
    }
    if let Some(entry) = sections.get_mut(LIST) {
        let items = entry.take();
        *entry = json!({ "type": "array", "items": items });
    }
    let mut schema = object(false);
    schema["$schema"] = "http://json-schema.org/draft-07/schema#".into();
    schema["title"] = "gbg-proxy".into();
    schema["properties"] = sections.into();
    schema
}

fn object(allows_more: bool) -> Value {
    json!({ "type": "object", "additionalProperties": allows_more, "properties": {} })
}

fn of_kind(kind: Kind) -> Value {
    match kind {
        Kind::Boolean => json!({ "type": "boolean" }),
        Kind::Number => json!({ "type": "number" }),
        Kind::Text => json!({ "type": "string" }),
        Kind::Choice(names) => json!({ "type": "string", "enum": names }),
        Kind::List(item) => json!({ "type": "array", "items": of_kind(*item) }),
        Kind::Table => object(true),
        Kind::Mixed => json!({}),
    }
}

/// The comment above the key `path` in the default file.
fn comment(path: &str) -> Option<String> {
    let (section, name) = path.rsplit_once('.')?;
    let bare = |line: &'static str| line.strip_prefix("# ").unwrap_or(line);
    let header = |line: &'static str| bare(line).trim_matches(['[', ']']) == section;
    let lines = DEFAULT_FILE
        .lines()
        .skip_while(|line| !(bare(line).starts_with('[') && header(line)))
        .skip(1)
        .take_while(|line| !bare(line).starts_with('['));
    let mut comment: Vec<&str> = Vec::new();
    for line in lines {
        match bare(line).split_once(" = ") {
            Some((found, _)) if found == name => {
                return (!comment.is_empty()).then(|| comment.join(" "));
            }
            Some((found, _)) if !found.contains([' ', '"']) => comment.clear(),
            _ if line.starts_with("# ") => comment.push(bare(line)),
            _ => comment.clear(),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_has_types_and_comments() {
        let schema = schema();
        let listen = &schema["properties"]["listen"]["properties"];
        assert_eq!(listen["max_connections"]["type"], "number");
        assert_eq!(listen["hosts"]["items"]["type"], "string");
        assert_eq!(listen["header_case"]["enum"], json!(["lower", "preserve"]));
        assert_eq!(listen["tls"]["properties"]["cert"]["type"], "string");
        let address = listen["address"]["description"].as_str().unwrap();
        assert!(address.starts_with("Address for callers: "), "{address}");
        let caller = &schema["properties"]["caller"]["items"]["properties"];
        assert_eq!(caller["uid"]["type"], "number");
        let rate = caller["rate"]["description"].as_str().unwrap();
        assert!(rate.starts_with("How many requests it may send"), "{rate}");
    }

    #[test]
    fn every_key_but_file_names_is_explained() {
        for key in KEYS
            .iter()
            .filter(|key| !key.path.starts_with("listen.tls."))
        {
            assert!(comment(&key.path).is_some(), "{}", key.path);
        }
    }
}
