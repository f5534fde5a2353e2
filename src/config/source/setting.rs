//! Types of keys: each parses its value, says what is wrong with it, and shows it again.

use std::num::{NonZeroU32, NonZeroUsize};

use toml::Value;

use super::invalid::Invalid;

/// The form in which a type is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Boolean,
    Number,
    Text,
    Choice(&'static [&'static str]),
    List(&'static Kind),
    Table,
    /// A string, or a value of another type that means the same.
    Mixed,
}

impl Kind {
    /// Returns true if a value is a text, which the environment and `--set` have without quotes.
    pub(crate) fn is_text(self) -> bool {
        matches!(self, Kind::Text | Kind::Choice(_) | Kind::Mixed)
    }
}

/// A type that a key can have.
pub(crate) trait Setting: Sized {
    const KIND: Kind;
    /// Whether an invalid value may be a misplaced secret, so that no error quotes it.
    const NEVER_QUOTE: bool = false;
    /// Whether even a valid value may be a secret, so that nothing shows it.
    const NEVER_SHOW: bool = false;

    fn parse(value: &Value) -> Result<Self, Invalid>;

    /// The value as it can be written in the file.
    fn to_toml(&self) -> Value;
}

/// A type that is written as a text in quotes.
pub(crate) trait TextSetting: Sized {
    const KIND: Kind = Kind::Text;
    const NEVER_QUOTE: bool = false;

    fn parse_text(text: &str) -> Result<Self, Invalid>;

    fn to_text(&self) -> String;
}

impl<T: TextSetting> Setting for T {
    const KIND: Kind = T::KIND;
    const NEVER_QUOTE: bool = T::NEVER_QUOTE;

    fn parse(value: &Value) -> Result<Self, Invalid> {
        match value {
            Value::String(text) => T::parse_text(text),
            Value::Array(_) | Value::Table(_) => {
                let reason = format!("it must be a string, not {}", kind_of(value));
                let fix = T::parse_text("").err().map(|error| error.fix().to_owned());
                let fix = fix.unwrap_or_else(|| "write one string in quotes".to_owned());
                Err(Invalid::new("value", reason, fix))
            }
            // First as if it were in quotes: for `timeout = 5`, the missing unit is the better error.
            _ => {
                let text = value.to_string();
                T::parse_text(&text)?;
                let invalid = Invalid::new("value", "the quotes are missing", "write it in quotes");
                Err(invalid.suggest([text]))
            }
        }
    }

    fn to_toml(&self) -> Value {
        Value::String(self.to_text())
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a string",
        Value::Integer(_) | Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    }
}

impl Setting for bool {
    const KIND: Kind = Kind::Boolean;

    fn parse(value: &Value) -> Result<Self, Invalid> {
        let invalid = |reason: &'static str| Invalid::new("value", reason, "write true or false");
        let text = match value {
            Value::Boolean(value) => return Ok(*value),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let meant = match text.to_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => true,
            "false" | "no" | "off" | "0" => false,
            _ => return Err(invalid("it must be true or false")),
        };
        let reason = match text.as_str() {
            "true" | "false" => "true and false are written without quotes",
            _ => "it must be true or false",
        };
        Err(invalid(reason).suggest([meant]))
    }

    fn to_toml(&self) -> Value {
        Value::Boolean(*self)
    }
}

/// A whole number from `min` to `max`.
pub(crate) fn parse_number(value: &Value, min: u64, max: u64) -> Result<u64, Invalid> {
    let range = match max {
        u64::MAX => format!("write a whole number of at least {min}"),
        _ => format!("write a whole number from {min} to {max}"),
    };
    let number = match value {
        Value::Integer(number) => *number,
        Value::String(text) => {
            let number: Option<u64> = text.trim().parse().ok();
            let meant = number.filter(|number| (min..=max).contains(number));
            let reason = match meant {
                Some(_) => "numbers are written without quotes",
                None => "it is not a number",
            };
            let meant = meant.and_then(|number| i64::try_from(number).ok());
            return Err(Invalid::new("number", reason, range).suggest(meant));
        }
        Value::Float(_) => return Err(Invalid::new("number", "it must be a whole number", range)),
        other => {
            let reason = format!("it is {}", kind_of(other));
            return Err(Invalid::new("number", reason, range));
        }
    };
    match u64::try_from(number) {
        Ok(number) if number < min => Err(Invalid::new("number", "it is too small", range)),
        Ok(number) if number > max => Err(Invalid::new("number", "it is too large", range)),
        Ok(number) => Ok(number),
        Err(_) => Err(Invalid::new("number", "it is negative", range)),
    }
}

macro_rules! number {
    ($type:ty, $primitive:ty, $min:literal) => {
        impl Setting for $type {
            const KIND: Kind = Kind::Number;

            fn parse(value: &Value) -> Result<Self, Invalid> {
                let max = u64::try_from(<$primitive>::MAX).unwrap_or(u64::MAX);
                let number = <$primitive>::try_from(parse_number(value, $min, max)?);
                let number = number.ok().and_then(|number| Self::try_from(number).ok());
                number.ok_or_else(|| Invalid::new("number", "it is out of range", "write another"))
            }

            fn to_toml(&self) -> Value {
                let number = <$primitive>::from(*self);
                Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))
            }
        }
    };
}

number!(u16, u16, 0);
number!(u32, u32, 0);
number!(usize, usize, 0);
number!(NonZeroU32, u32, 1);
number!(NonZeroUsize, usize, 1);

impl<T: Setting> Setting for Vec<T> {
    const KIND: Kind = Kind::List(&T::KIND);
    const NEVER_QUOTE: bool = T::NEVER_QUOTE;

    fn parse(value: &Value) -> Result<Self, Invalid> {
        let Value::Array(items) = value else {
            let invalid = Invalid::new(
                "list",
                "the brackets are missing",
                "write a list in brackets",
            );
            // The error of the single value comes first.
            return match parse_verified::<T>(value) {
                Ok(_) => Err(invalid.suggest([value.clone()]).in_brackets()),
                Err(error) => Err(error.in_brackets()),
            };
        };
        let mut parsed = Vec::new();
        let mut errors = Vec::new();
        for item in items {
            match parse_verified(item) {
                Ok(value) => parsed.push(value),
                Err(error) => errors.push(error.in_item(item)),
            }
        }
        let chain = |next, error: Invalid| Some(error.before(next));
        match errors.into_iter().rev().fold(None, chain) {
            Some(first) => Err(first),
            None => Ok(parsed),
        }
    }

    fn to_toml(&self) -> Value {
        Value::Array(self.iter().map(Setting::to_toml).collect())
    }
}

/// Parses `value`; each suggestion of an error can be parsed too.
pub(crate) fn parse_verified<T: Setting>(value: &Value) -> Result<T, Invalid> {
    T::parse(value).map_err(|error| error.verify(T::parse))
}

impl TextSetting for String {
    fn parse_text(text: &str) -> Result<Self, Invalid> {
        Ok(text.to_owned())
    }

    fn to_text(&self) -> String {
        self.clone()
    }
}

/// Implements [`TextSetting`] for an enum with one name for each variant.
macro_rules! choice {
    ($type:ty, $noun:literal, { $($name:literal => $variant:path),+ $(,)? }) => {
        impl $crate::config::source::setting::TextSetting for $type {
            const KIND: $crate::config::source::setting::Kind =
                $crate::config::source::setting::Kind::Choice(&[$($name),+]);

            fn parse_text(text: &str) -> Result<Self, $crate::config::source::invalid::Invalid> {
                match text {
                    $($name => Ok($variant),)+
                    _ => Err($crate::config::source::invalid::Invalid::choice($noun, text, &[$($name),+])),
                }
            }

            fn to_text(&self) -> String {
                match self {
                    $($variant => $name,)+
                }
                .to_owned()
            }
        }
    };
}

pub(crate) use choice;

#[cfg(test)]
mod tests {
    use super::*;

    fn fix<T: Setting>(value: impl Into<Value>) -> String {
        let value = value.into();
        let (message, fix) = T::parse(&value)
            .err()
            .map(|error| error.describe(&value, |value| Some(value.to_string())))
            .unwrap_or_default();
        format!("{message}; {fix}")
    }

    #[test]
    fn a_fix_is_made_from_the_value() {
        assert_eq!(
            fix::<bool>("true"),
            "invalid value \"true\": true and false are written without quotes; write true"
        );
        assert_eq!(
            fix::<bool>(0),
            "invalid value 0: it must be true or false; write false"
        );
        assert_eq!(
            fix::<NonZeroU32>("100"),
            "invalid number \"100\": numbers are written without quotes; write 100"
        );
        assert_eq!(
            fix::<NonZeroU32>(0),
            "invalid number 0: it is too small; write a whole number from 1 to 4294967295"
        );
        assert_eq!(
            fix::<u16>(-1),
            "invalid number -1: it is negative; write a whole number from 0 to 65535"
        );
        assert_eq!(
            fix::<String>(12),
            "invalid value 12: the quotes are missing; write \"12\""
        );
        assert_eq!(
            fix::<Vec<String>>("a"),
            "invalid list \"a\": the brackets are missing; write [\"a\"]"
        );
        assert_eq!(
            fix::<Vec<u16>>(vec![Value::from(1), Value::from("x")]),
            "invalid number \"x\": it is not a number; write a whole number from 0 to 65535"
        );
    }

    #[test]
    fn unquoted_values_appear_in_no_part() {
        let value = Value::from("hunter2");
        let error = Vec::<bool>::parse(&value).unwrap_err();
        assert!(!error.to_string().contains("hunter2"));
        let error = String::parse(&Value::from(1234)).unwrap_err();
        let (message, fix) = error.describe(&Value::from(1234), |_| None);
        assert!(
            !format!("{message}{fix}").contains("1234"),
            "{message} {fix}"
        );
    }
}
