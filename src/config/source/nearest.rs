//! Nearest known name to a misspelt one.

/// The one of `known` that `name` resembles most, if it resembles any.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let length = name.chars().count();
    known
        // The distance is at least the difference of the lengths, and slow to compute for long names.
        .filter(|candidate| candidate.len().abs_diff(length) <= candidate.len() / 2)
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len() / 2)
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_similar_names_are_near() {
        let known = ["token.scope", "token.endpoint"];
        assert_eq!(
            nearest("token.scop", known.into_iter()),
            Some("token.scope")
        );
        assert_eq!(nearest("tls", known.into_iter()), None);
    }
}
