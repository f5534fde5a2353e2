//! Sizes: a number of bytes and its unit, such as `"64KiB"`.

use std::fmt;

use bytesize::ByteSize;
use toml::Value;

use crate::config::source::invalid::Invalid;
use crate::config::source::setting::{Kind, Setting};

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        let fits = |(unit, _): &(u64, &str)| self.0 > 0 && self.0.is_multiple_of(*unit);
        let (unit, name) = units.into_iter().find(fits).unwrap_or((1, "B"));
        write!(f, "{}{name}", self.0 / unit)
    }
}

impl Setting for Size {
    const KIND: Kind = Kind::Mixed;

    fn parse(value: &Value) -> Result<Self, Invalid> {
        let text = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        if text == "0" {
            return Ok(Size(0));
        }
        let invalid = |reason| {
            let fix = "write a number and its unit, such as \"64KiB\" or \"5MiB\"";
            Invalid::new("size", reason, fix)
        };
        // 64 may mean bytes, or be a slip.
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            let missing = invalid("the unit is missing");
            return Err(match text.parse() {
                // Such a number means bytes.
                Ok(bytes @ 1024..) => missing.suggest([Size(bytes).to_toml()]),
                _ => missing.suggest(["KiB", "MiB", "B"].map(|unit| format!("{text}{unit}"))),
            });
        }
        let size: ByteSize = text.parse().map_err(|_| invalid(""))?;
        Ok(Size(size.as_u64()))
    }

    fn to_toml(&self) -> Value {
        match self.0 {
            0 => Value::Integer(0),
            _ => Value::String(self.to_string()),
        }
    }
}

/// Accepts sizes from 1 byte to `max`.
pub(crate) fn at_most(max: u64) -> impl Fn(&Size) -> Result<(), Invalid> {
    move |size| {
        if (1..=max).contains(&size.0) {
            return Ok(());
        }
        let max = Size(max).to_toml();
        Err(Invalid::new(
            "size",
            "it is out of range",
            format!("write a size from \"1B\" to {max}"),
        ))
    }
}
