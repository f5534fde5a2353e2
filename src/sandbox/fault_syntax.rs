//! Syntax of faults: `name` or `name=value`, with `*N` at the end to affect the next N calls
//! only.

mod table;

use std::str::FromStr;

use self::table::SYNTAX;
use super::faults::Fault;
use crate::config::nearest;

/// A text that is not a fault.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// There is no fault of this name.
    #[error("unknown fault {name:?}; {hint}")]
    Unknown {
        /// The name.
        name: String,
        /// The nearest known name, or all of them.
        hint: String,
    },
    /// A value for a fault that takes none.
    #[error("{0} takes no value")]
    TakesNoValue(&'static str),
    /// A missing value: the name, and an example.
    #[error("{0} needs a value, such as {0}={1}")]
    NeedsValue(&'static str, &'static str),
    /// An invalid value: the name, and the reason.
    #[error("{0}: {1}")]
    Value(&'static str, String),
    /// A count of calls that is zero or too large.
    #[error("the count of calls after * must be from 1 to 4294967295")]
    Count,
}

impl Fault {
    /// The help text, with a line for each fault: its syntax and its effect.
    pub(super) fn help() -> String {
        let intro =
            "Fault to inject; repeatable. Append *N to affect only the next N matching calls:\n\n";
        let lines = SYNTAX
            .iter()
            .map(|row| format!("  {:<23} {}\n", row.sample(), row.effect));
        intro.to_owned() + &lines.collect::<String>()
    }
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let is_count =
            |count: &str| !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit());
        let (text, calls) = match text.rsplit_once('*').filter(|(_, count)| is_count(count)) {
            Some((text, count)) => (text, Some(count.parse().map_err(|_| FaultError::Count)?)),
            None => (text, None),
        };
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        let Some(row) = SYNTAX.iter().find(|row| row.name == name) else {
            return Err(unknown(name));
        };
        let value = match value {
            Some(_) if row.example.is_empty() => return Err(FaultError::TakesNoValue(row.name)),
            None | Some("") if !row.example.is_empty() => {
                return Err(FaultError::NeedsValue(row.name, row.example));
            }
            value => value.unwrap_or_default(),
        };
        let effect = (row.parse)(value).map_err(|reason| FaultError::Value(row.name, reason))?;
        Ok(Fault {
            text: text.to_owned(),
            target: row.target,
            effect,
            calls,
        })
    }
}

fn unknown(name: &str) -> FaultError {
    let known = || SYNTAX.iter().map(|row| row.name);
    let hint = match nearest(name, known()) {
        Some(nearest) => format!("did you mean {nearest}?"),
        None => format!("known faults: {}", known().collect::<Vec<_>>().join(", ")),
    };
    FaultError::Unknown {
        name: name.to_owned(),
        hint,
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use clap::ValueEnum;

    use super::super::faults::TokenBody;
    use super::table::SyntaxRow;
    use super::*;

    fn error(text: &str) -> String {
        text.parse::<Fault>().unwrap_err().to_string()
    }

    #[test]
    fn every_fault_reads_as_it_is_written() {
        let mut texts: Vec<_> = SYNTAX.iter().map(SyntaxRow::sample).collect();
        for body in TokenBody::value_variants() {
            let value = body.to_possible_value().unwrap();
            texts.push(format!("token-body={}", value.get_name()));
        }
        for value in [
            "\"3600\"",
            "3600.5",
            "-1",
            "1e300",
            "null",
            "none",
            "{\"a\": [1]}",
        ] {
            texts.push(format!("token-expires-in={value}"));
        }
        texts.push("token-retry-after=Wed, 21 Oct 2015 07:28:00 GMT".to_owned());
        texts.push("token-delay=1s 500ms".to_owned());
        texts.push("api-status=299".to_owned());
        for text in texts {
            let fault: Fault = text.parse().unwrap();
            assert_eq!((fault.to_string(), fault.calls), (text.clone(), None));
            let text = format!("{text}*3");
            let counted: Fault = text.parse().unwrap();
            let calls = NonZeroU32::new(3);
            assert_eq!(
                (counted.to_string(), counted),
                (text, Fault { calls, ..fault })
            );
        }
    }

    #[test]
    fn an_error_says_what_is_expected() {
        assert_eq!(
            error("token-dealy=2s"),
            "unknown fault \"token-dealy\"; did you mean token-delay?"
        );
        assert!(
            error("x").contains("known faults: token-delay, token-hang, "),
            "{}",
            error("x")
        );
        assert_eq!(error("token-hang=1"), "token-hang takes no value");
        assert_eq!(
            error("token-status*3"),
            "token-status needs a value, such as token-status=500"
        );
        assert_eq!(
            error("token-type="),
            "token-type needs a value, such as token-type=mac"
        );
        assert!(error("token-delay=2").starts_with(
            "token-delay: invalid duration: the unit is missing; write a number and its"
        ));
        for status in ["99", "100", "1000", "x"] {
            assert!(
                error(&format!("api-status={status}")).contains("from 200 to 999"),
                "{status}"
            );
        }
        assert!(error("token-body=xml").contains("known bodies: empty, html, no-token, crlf"));
        for rate in ["2", "2/", "/1s", "0/1s", "2/1", "2/0s"] {
            let error = error(&format!("api-instance-rate={rate}"));
            assert!(error.contains("such as 2/10s"), "{error}");
        }
        assert!(error("token-expires-in=1 2").starts_with("token-expires-in: not JSON"));
        assert!(error("token-retry-after=a\nb").contains("not a header field value"));
        for count in ["0", "4294967296"] {
            assert!(
                error(&format!("token-hang*{count}")).contains("count of calls"),
                "{count}"
            );
        }
    }
}
