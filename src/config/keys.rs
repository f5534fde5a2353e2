//! Which keys there are, read off the types themselves, and which of them a misspelt one may have meant.

use serde::de::{Deserialize, Deserializer, Error, Visitor, value};

/// The names of the fields of the struct `T`, as serde knows them.
pub(super) fn fields<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    let mut found: &'static [&'static str] = &[];
    // The error is the way out: nothing is deserialized.
    let _ = T::deserialize(Fields(&mut found));
    found
}

/// The one of `known` that `name` is most like, if it is like any.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
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
        assert_eq!(nearest("token.scop", known.into_iter()), Some("token.scope"));
        assert_eq!(nearest("tls", known.into_iter()), None);
    }
}
