//! Path templates: `{variable}` stands for one segment, a last segment `*` for one or more.

/// Whether `template` matches the whole of `path`.
pub(crate) fn matches(template: &str, path: &str) -> bool {
    let mut segments = path.split('/');
    for part in template.split('/') {
        let Some(segment) = segments.next() else {
            return false;
        };
        match part {
            "*" => return !segment.is_empty(),
            _ if variable(part).is_some() && !segment.is_empty() => {}
            _ if part == segment => {}
            _ => return false,
        }
    }
    segments.next().is_none()
}

/// Whether `template` matches a path below `prefix`, which ends in `/`.
pub(crate) fn can_match_below(template: &str, prefix: &str) -> bool {
    let mut parts = template.split('/');
    let below = prefix.strip_suffix('/').unwrap_or(prefix);
    for segment in below.split('/') {
        match parts.next() {
            Some("*") => return true,
            Some(part) if variable(part).is_some() || part == segment => {}
            _ => return false,
        }
    }
    parts.next().is_some()
}

/// The name of the variable that `part` of a template is.
pub(crate) fn variable(part: &str) -> Option<&str> {
    part.strip_prefix('{')?.strip_suffix('}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_match_one_segment_stars_the_rest() {
        for (template, path, expected) in [
            ("/a/b", "/a/b", true),
            ("/a/b", "/a/b/", false),
            ("/a/b", "/a", false),
            ("/a/{id}/c", "/a/x/c", true),
            ("/a/{id}/c", "/a//c", false),
            ("/a/{id}/c", "/a/x/y/c", false),
            ("/a/*", "/a/x/y", true),
            ("/a/*", "/a/x", true),
            ("/a/*", "/a/", false),
            ("/a/*", "/a", false),
            ("/a/*", "/b/x", false),
        ] {
            assert_eq!(matches(template, path), expected, "{template} {path}");
        }
    }

    #[test]
    fn a_template_below_a_prefix_can_match() {
        for (template, prefix, expected) in [
            ("/v2/captain/x", "/v2/captain/", true),
            ("/v2/{name}/x", "/v2/captain/", true),
            ("/v2/*", "/v2/captain/", true),
            ("/v2/captain", "/v2/captain/", false),
            ("/v1/*", "/v2/captain/", false),
            ("/v2/captains/x", "/v2/captain/", false),
            ("/x", "/", true),
        ] {
            assert_eq!(
                can_match_below(template, prefix),
                expected,
                "{template} {prefix}"
            );
        }
    }
}
