//! Known keys, derived from the types of the sections, and the nearest key to a misspelt one.

use serde::de::{Deserialize, Deserializer, Error, Visitor, value};

use crate::config::error::Problem;
use crate::config::sections::{
    admin, caller, drain::Drain, limits::Limits, listen, log::Log, token, trace, upstream,
};
use crate::config::types::caller_key;

/// The section of which there may be several.
pub(crate) const LIST: &str = "caller";

/// Each section with the names of its keys.
fn sections() -> [(&'static str, &'static [&'static str]); 10] {
    [
        ("listen", fields::<listen::RawListen>()),
        ("listen.tls", fields::<listen::RawTls>()),
        ("upstream", fields::<upstream::RawUpstream>()),
        ("token", fields::<token::RawToken>()),
        (LIST, fields::<caller::RawCaller>()),
        ("limits", fields::<Limits>()),
        ("admin", fields::<admin::RawAdmin>()),
        ("log", fields::<Log>()),
        ("trace", fields::<trace::RawTrace>()),
        ("drain", fields::<Drain>()),
    ]
}

/// Every key, `section.key`; those of a caller are `caller.key`.
pub fn keys() -> Vec<String> {
    sections()
        .iter()
        .flat_map(|(section, names)| names.iter().map(move |name| format!("{section}.{name}")))
        .filter(|path| !is_section(path))
        .collect()
}

pub(crate) fn is_section(path: &str) -> bool {
    sections().iter().any(|(section, _)| *section == path)
}

/// The key of `path` whichever caller it is of: `caller.rate` of `caller[1].rate`.
pub(crate) fn pattern(path: &str) -> String {
    let rest = path
        .strip_prefix(LIST)
        .and_then(|rest| rest.strip_prefix('[')?.split_once(']'));
    rest.map_or_else(|| path.to_owned(), |(_, rest)| format!("{LIST}{rest}"))
}

/// `path`, which is no key, as a problem. One that may hold a secret is not shown; its caller is.
pub(crate) fn unknown(path: &str) -> Problem {
    let sections = sections().map(|(section, _)| section);
    if is_section(path) {
        let fix = format!("write its keys, such as those below [{path}] in proxy.toml");
        return Problem::new(
            path.to_owned(),
            "this is a section, and takes no value",
            fix,
        );
    }
    let of_caller = path
        .strip_prefix(LIST)
        .and_then(|rest| rest.strip_prefix('[')?.split_once("]."))
        .filter(|(index, _)| index.bytes().all(|byte| byte.is_ascii_digit()));
    let (caller, fix) = match of_caller {
        // Only a key of the same section may be meant, and the error names the caller already.
        Some((index, name)) => {
            let names = fields::<caller::RawCaller>();
            let fix = match nearest(name, names.iter().copied()) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("the keys of a caller are {}", names.join(", ")),
            };
            (format!("{LIST}[{index}]"), fix)
        }
        None => {
            let keys = keys();
            let fix = match nearest(path, keys.iter().map(String::as_str).chain(sections)) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("the sections are {}", sections.join(", ")),
            };
            (String::new(), fix)
        }
    };
    match is_name(path) {
        true => Problem::new(path.to_owned(), "there is no such key", fix),
        false => Problem::new(
            caller,
            "there is no such key (it is not shown: it may be a secret)",
            fix,
        ),
    }
}

/// Whether `path` is a name and nothing else; `token.client_secret:hunter2`, for instance, is more.
fn is_name(path: &str) -> bool {
    /// Longer than any key with a typo in it.
    const LONGEST: usize = 64;
    let is_plain = |c: char| c.is_alphanumeric() || "._-[]\"".contains(c);
    path.len() <= LONGEST && path.chars().all(is_plain) && !caller_key::is_secret(path)
}

/// The names of the fields of the struct `T`, as serde knows them.
fn fields<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    let mut found: &'static [&'static str] = &[];
    // The error is the way out: nothing is deserialized.
    let _ = T::deserialize(Fields(&mut found));
    found
}

/// The one of `known` that `name` is most like, if it is like any.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let length = name.chars().count();
    known
        // The distance is never less, and that of a long name takes long.
        .filter(|candidate| candidate.len().abs_diff(length) <= candidate.len() / 2)
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len() / 2)
        .min()
        .map(|(_, candidate)| candidate)
}

struct Fields<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Fields<'_> {
    type Error = value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(Error::custom("no struct"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Self::Error> {
        *self.0 = fields;
        Err(Error::custom("only its fields are wanted"))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_off_the_type() {
        #[derive(serde::Deserialize)]
        struct Section {
            #[serde(rename = "first")]
            _a: bool,
            _b: Option<u8>,
        }
        assert_eq!(fields::<Section>(), ["first", "_b"]);
    }

    #[test]
    fn the_nearest_is_near() {
        let known = ["token.scope", "token.endpoint"];
        assert_eq!(
            nearest("token.scop", known.into_iter()),
            Some("token.scope")
        );
        assert_eq!(nearest("tls", known.into_iter()), None);
    }

    #[test]
    fn a_key_that_is_not_shown_has_its_nearest_and_its_caller() {
        const NOT_SHOWN: &str = "there is no such key (it is not shown: it may be a secret)";
        const KEY: &str = "gbgp_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8l4rjr-";
        let of_caller = "the keys of a caller are ";
        for (path, key, fix) in [
            ("listen address", "", "did you mean listen.address?"),
            ("listen/address", "", "did you mean listen.address?"),
            ("token:hunter2-hunter2-hunter2", "", "the sections are "),
            (KEY, "", "the sections are "),
            ("", "", "the sections are "),
            (
                "caller[1].key sha256",
                "caller[1]",
                "did you mean key_sha256?",
            ),
            ("caller[12].hunter 2", "caller[12]", of_caller),
            (&format!("caller[0].{KEY}"), "caller[0]", of_caller),
            ("caller[hunter2].a b", "", "the sections are "),
        ] {
            let problem = unknown(path);
            let message = match path {
                "" => "there is no such key",
                _ => NOT_SHOWN,
            };
            assert_eq!((&*problem.key, &*problem.message), (key, message), "{path}");
            assert!(problem.fix.starts_with(fix), "{path}: {}", problem.fix);
        }
        let problem = unknown("caller[1].rat");
        assert_eq!(
            problem.to_string(),
            "caller[1].rat: there is no such key; did you mean rate?"
        );
    }
}
