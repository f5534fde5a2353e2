//! Reason why a value cannot be used, with a fix that is made from the value where it may be shown.

use std::borrow::Cow;
use std::fmt;

use toml::Value;

use super::nearest::nearest;

/// Reason why a value cannot be used. Only the suggestions may hold a part of the value.
#[derive(Debug)]
pub struct Invalid {
    /// The kind of value that was expected, such as `duration`.
    noun: &'static str,
    reason: Cow<'static, str>,
    fix: Cow<'static, str>,
    /// Values that were probably meant.
    suggestions: Vec<Value>,
    /// The item of a list that is wrong.
    item: Option<Box<Value>>,
    /// The error of the next wrong item.
    next: Option<Box<Invalid>>,
    /// The value may hold a secret, so that it is not quoted.
    is_sensitive: bool,
}

impl Invalid {
    /// `reason` may be empty. `fix` is an instruction: `write …`.
    pub(crate) fn new(
        noun: &'static str,
        reason: impl Into<Cow<'static, str>>,
        fix: impl Into<Cow<'static, str>>,
    ) -> Self {
        Invalid {
            noun,
            reason: reason.into(),
            fix: fix.into(),
            suggestions: Vec::new(),
            item: None,
            next: None,
            is_sensitive: false,
        }
    }

    /// The error of `text` that is none of `names`.
    pub(crate) fn choice(noun: &'static str, text: &str, names: &[&str]) -> Self {
        let mut same = names.iter().copied();
        let same = same.find(|name| name.eq_ignore_ascii_case(text));
        // Short names are near to everything.
        let long = names.iter().copied().filter(|name| name.len() > 3);
        let fix = match same.or_else(|| nearest(text, long)) {
            Some(near) => format!("did you mean {near:?}?"),
            None => format!(
                "write {}",
                list_of(names.iter().map(|name| format!("{name:?}")))
            ),
        };
        Invalid::new(noun, "", fix)
    }

    /// Keeps the value, which may hold a secret, out of the message.
    pub(crate) fn without_value(self) -> Self {
        Invalid {
            is_sensitive: true,
            ..self
        }
    }

    /// Adds values that were probably meant.
    pub(crate) fn suggest<V: Into<Value>>(mut self, values: impl IntoIterator<Item = V>) -> Self {
        self.suggestions = values.into_iter().map(Into::into).collect();
        self
    }

    /// Removes the suggestions that `accept` rejects. The reason to reject the only one replaces
    /// this one: it is what remains wrong.
    pub(crate) fn verify<T>(mut self, accept: impl Fn(&Value) -> Result<T, Invalid>) -> Self {
        // The suggestions for an item of a list are verified already.
        if self.item.is_some() {
            return self;
        }
        if let [only] = self.suggestions.as_slice()
            && let Err(error) = accept(only)
            && !error.reason.is_empty()
        {
            return Invalid {
                suggestions: Vec::new(),
                ..error
            };
        }
        self.suggestions.retain(|value| accept(value).is_ok());
        self
    }

    /// The error of a list whose item `item` has this one.
    pub(crate) fn in_item(self, item: &Value) -> Self {
        Invalid {
            item: Some(Box::new(item.clone())),
            ..self
        }
    }

    /// This error before `next`, that of the next wrong item of a list.
    pub(crate) fn before(self, next: Option<Invalid>) -> Self {
        Invalid {
            next: next.map(Box::new),
            ..self
        }
    }

    pub(crate) fn take_next(&mut self) -> Option<Invalid> {
        self.next.take().map(|next| *next)
    }

    /// The same error, with each suggestion in a list of its own.
    pub(crate) fn in_brackets(mut self) -> Self {
        let list = |value| Value::Array(vec![value]);
        self.suggestions = self.suggestions.into_iter().map(list).collect();
        self
    }

    pub(crate) fn fix(&self) -> &str {
        &self.fix
    }

    /// The reason without a part of the value and without a fix.
    pub(crate) fn cause(&self) -> String {
        let colon = if self.reason.is_empty() { "" } else { ": " };
        format!("invalid {}{colon}{}", self.noun, self.reason)
    }

    /// The message about `value`, which is quoted if `quote` allows it, and the fix.
    pub(crate) fn describe(
        self,
        value: &Value,
        quote: impl Fn(&Value) -> Option<String>,
    ) -> (String, String) {
        let value = self.item.as_deref().unwrap_or(value);
        let Some(quoted) = quote(value).filter(|_| !self.is_sensitive) else {
            return (self.cause(), self.fix.into_owned());
        };
        let colon = if self.reason.is_empty() { "" } else { ": " };
        let message = format!("invalid {} {quoted}{colon}{}", self.noun, self.reason);
        let fix = match self.suggestions.as_slice() {
            [] => self.fix.into_owned(),
            values => format!("write {}", list_of(values.iter().map(Value::to_string))),
        };
        (message, fix)
    }
}

/// Without a part of the value.
impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.cause(), self.fix)
    }
}

impl std::error::Error for Invalid {}

/// `a, b or c`.
fn list_of(items: impl Iterator<Item = String>) -> String {
    let items: Vec<_> = items.collect();
    match items.as_slice() {
        [first @ .., second_last, last] => {
            let first: String = first.iter().map(|item| format!("{item}, ")).collect();
            format!("{first}{second_last} or {last}")
        }
        _ => items.concat(),
    }
}
