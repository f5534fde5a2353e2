//! Comments of the shipped `proxy.toml`, quoted to a person whose value does not fit.

const SHIPPED: &str = include_str!("../../../proxy.toml");

/// The comment above `key`, and the line with its default or an example.
pub(crate) fn of(key: &str) -> Option<String> {
    let (section, name) = key.rsplit_once('.')?;
    let headings = [format!("[{section}]"), format!("[[{section}]]")];
    let mut lines = SHIPPED
        .lines()
        .skip_while(|line| !headings.iter().any(|heading| bare(line) == heading))
        .skip(1);
    let mut comment: Vec<&str> = Vec::new();
    for line in lines
        .by_ref()
        .take_while(|line| !bare(line).starts_with('['))
    {
        if bare(line)
            .split_once(" = ")
            .is_some_and(|(found, _)| found == name)
        {
            comment.push(bare(line));
            return Some(comment.join("\n        "));
        }
        match line.strip_prefix("# ") {
            Some(text) if !text.contains(" = ") => comment.push(text),
            _ => comment.clear(),
        }
    }
    None
}

/// The default of `key`, if it has one that depends on nothing.
pub(crate) fn default(key: &str) -> Option<String> {
    let (section, name) = key.rsplit_once('.')?;
    let lines = SHIPPED
        .lines()
        .skip_while(|line| *line != format!("[{section}]"))
        .skip(1);
    let mut values = lines
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split_once(" = "));
    values
        .find(|(found, _)| *found == name)
        .map(|(_, value)| value.to_owned())
}

/// The line without the mark of a comment.
fn bare(line: &str) -> &str {
    line.strip_prefix("# ").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_explained() {
        for key in crate::config::keys() {
            let text = of(&key).unwrap_or_else(|| panic!("proxy.toml does not explain {key}"));
            let (section, name) = key.rsplit_once('.').unwrap();
            assert!(text.contains(&format!("{name} = ")), "{text}");
            assert!(
                text.contains('\n') || section == "listen.tls",
                "{key} has no comment: {text}"
            );
        }
        assert_eq!(of("no.such"), None);
        assert_eq!(default("token.scope"), None, "it depends on the grant");
        assert_eq!(default("drain.timeout").as_deref(), Some("\"25s\""));
    }
}
