//! How a fault is written: `name` or `name=value`, and `*N` at the end where it is for the next N
//! calls only.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use http::{HeaderValue, StatusCode};
use serde::de::IgnoredAny;

use super::faults::{Fault, FaultKind, TokenBody};
use crate::config::{nearest, parse_duration};

/// Why a text is no fault.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// There is no fault of this name.
    #[error("there is no fault {name:?}; {hint}")]
    Unknown {
        /// The name.
        name: String,
        /// The name that may be meant, or all of them.
        hint: String,
    },
    /// A value for a fault that has none.
    #[error("{0} takes no value")]
    TakesNoValue(&'static str),
    /// No value for a fault that needs one.
    #[error("{0} needs a value, such as {0}={1}")]
    NeedsValue(&'static str, &'static str),
    /// A value that is none for this fault.
    #[error("{0}: {1}")]
    Value(&'static str, String),
    /// A count of calls that is zero or too large.
    #[error("the count of calls after * must be from 1 to 4294967295")]
    Count,
}

/// One way to write a fault.
struct Form {
    name: &'static str,
    /// A value; empty where there is none.
    example: &'static str,
    meaning: &'static str,
    read: fn(&str) -> Result<FaultKind, String>,
}

const fn form(
    name: &'static str,
    example: &'static str,
    meaning: &'static str,
    read: fn(&str) -> Result<FaultKind, String>,
) -> Form {
    Form {
        name,
        example,
        meaning,
        read,
    }
}

static FORMS: [Form; 18] = {
    use FaultKind::*;
    [
        form("token-delay", "2s", "the token comes late", |text| {
            read_time(text).map(TokenDelay)
        }),
        form("token-hang", "", "no answer, ever", |_| Ok(TokenHang)),
        form("token-reset", "", "the connection closes instead", |_| {
            Ok(TokenReset)
        }),
        form(
            "token-status",
            "500",
            "any status, a body that is no JSON",
            |text| read_status(text).map(TokenStatus),
        ),
        form(
            "token-retry-after",
            "7",
            "a Retry-After on any answer; a date as well",
            |text| read_field(text).map(TokenRetryAfter),
        ),
        form(
            "token-body",
            "html",
            "or empty, no-token, crlf, bom, truncated, endless, drip",
            |text| read_body(text).map(TokenBody),
        ),
        form("token-type", "mac", "another token_type", |text| {
            Ok(TokenType(text.to_owned()))
        }),
        form("token-bad", "", "a token with a line end in it", |_| {
            Ok(TokenBad)
        }),
        form("token-same", "", "the token before, while it lives", |_| {
            Ok(TokenSame)
        }),
        form(
            "token-expires-in",
            "-1",
            "any JSON; none leaves it out",
            |text| read_json(text).map(TokenExpiresIn),
        ),
        form("token-life", "3s", "another life", |text| {
            read_time(text).map(TokenLife)
        }),
        form("refuse-client", "", "401 invalid_client", |_| {
            Ok(RefuseClient)
        }),
        form(
            "api-status",
            "503",
            "any status, in GBG's form of an error",
            |text| read_status(text).map(ApiStatus),
        ),
        form("api-delay", "1s", "the answer comes late", |text| {
            read_time(text).map(ApiDelay)
        }),
        form("api-hang", "", "no answer, ever", |_| Ok(ApiHang)),
        form("api-reset", "", "the connection closes instead", |_| {
            Ok(ApiReset)
        }),
        form(
            "api-truncated",
            "",
            "the body breaks off in the middle",
            |_| Ok(ApiTruncated),
        ),
        form(
            "api-retry-after",
            "7",
            "a Retry-After on any answer",
            |text| read_field(text).map(ApiRetryAfter),
        ),
    ]
};

const TOKEN_BODIES: [(&str, TokenBody); 8] = [
    ("empty", TokenBody::Empty),
    ("html", TokenBody::Html),
    ("no-token", TokenBody::NoToken),
    ("crlf", TokenBody::Crlf),
    ("bom", TokenBody::Bom),
    ("truncated", TokenBody::Truncated),
    ("endless", TokenBody::Endless),
    ("drip", TokenBody::Drip),
];

impl Fault {
    /// A line for each kind of fault: how it is written, and what it does.
    pub fn manual() -> String {
        FORMS.iter().fold(String::new(), |manual, form| {
            let text = format!(
                "{}{}{}",
                form.name,
                if form.example.is_empty() { "" } else { "=" },
                form.example
            );
            manual + &format!("  {text:<20} {}\n", form.meaning)
        })
    }
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let is_count =
            |count: &str| !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit());
        let Some((kind, count)) = text.rsplit_once('*').filter(|(_, count)| is_count(count)) else {
            return read_kind(text).map(Fault::from);
        };
        let count = count
            .parse()
            .ok()
            .filter(|&count| count > 0)
            .ok_or(FaultError::Count)?;
        read_kind(kind).map(|kind| kind.times(count))
    }
}

fn read_kind(text: &str) -> Result<FaultKind, FaultError> {
    let (name, value) = text
        .split_once('=')
        .map_or((text, None), |(name, value)| (name, Some(value)));
    let Some(form) = FORMS.iter().find(|form| form.name == name) else {
        let known = || FORMS.iter().map(|form| form.name);
        let hint = match nearest(name, known()) {
            Some(nearest) => format!("did you mean {nearest}?"),
            None => format!("there are {}", known().collect::<Vec<_>>().join(", ")),
        };
        return Err(FaultError::Unknown {
            name: name.to_owned(),
            hint,
        });
    };
    match value {
        Some(_) if form.example.is_empty() => Err(FaultError::TakesNoValue(form.name)),
        None | Some("") if !form.example.is_empty() => {
            Err(FaultError::NeedsValue(form.name, form.example))
        }
        value => (form.read)(value.unwrap_or_default())
            .map_err(|problem| FaultError::Value(form.name, problem)),
    }
}

fn read_time(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(str::to_owned)
}

/// An answer ends with its status, so it is none of 1xx (RFC 9110 section 15.2).
fn read_status(text: &str) -> Result<StatusCode, String> {
    let status = text
        .parse()
        .ok()
        .filter(|status: &StatusCode| !status.is_informational());
    status.ok_or_else(|| "no status; write a number from 200 to 999".to_owned())
}

fn read_field(text: &str) -> Result<HeaderValue, String> {
    HeaderValue::from_str(text)
        .ok()
        .filter(|value| value.to_str().is_ok())
        .ok_or_else(|| "no text that a header field can have".to_owned())
}

fn read_body(text: &str) -> Result<TokenBody, String> {
    let found = TOKEN_BODIES.iter().find(|(name, _)| *name == text);
    found.map(|(_, body)| *body).ok_or_else(|| {
        let known: Vec<_> = TOKEN_BODIES.iter().map(|(name, _)| *name).collect();
        format!("there is no body {text:?}; there are {}", known.join(", "))
    })
}

fn read_json(text: &str) -> Result<Option<String>, String> {
    if text == "none" {
        return Ok(None);
    }
    match serde_json::from_str::<IgnoredAny>(text) {
        Ok(_) => Ok(Some(text.to_owned())),
        Err(error) => Err(format!("no JSON: {error}")),
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)?;
        match self.calls {
            Some(calls) => write!(f, "*{calls}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |time: &Duration| humantime::format_duration(*time).to_string();
        let field = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let (name, value) = match self {
            FaultKind::TokenDelay(delay) => ("token-delay", time(delay)),
            FaultKind::TokenHang => ("token-hang", String::new()),
            FaultKind::TokenReset => ("token-reset", String::new()),
            FaultKind::TokenStatus(status) => ("token-status", status.as_str().to_owned()),
            FaultKind::TokenRetryAfter(value) => ("token-retry-after", field(value)),
            FaultKind::TokenBody(body) => ("token-body", body.name().to_owned()),
            FaultKind::TokenType(kind) => ("token-type", kind.clone()),
            FaultKind::TokenBad => ("token-bad", String::new()),
            FaultKind::TokenSame => ("token-same", String::new()),
            FaultKind::TokenExpiresIn(value) => (
                "token-expires-in",
                value.clone().unwrap_or_else(|| "none".to_owned()),
            ),
            FaultKind::TokenLife(life) => ("token-life", time(life)),
            FaultKind::RefuseClient => ("refuse-client", String::new()),
            FaultKind::ApiStatus(status) => ("api-status", status.as_str().to_owned()),
            FaultKind::ApiDelay(delay) => ("api-delay", time(delay)),
            FaultKind::ApiHang => ("api-hang", String::new()),
            FaultKind::ApiReset => ("api-reset", String::new()),
            FaultKind::ApiTruncated => ("api-truncated", String::new()),
            FaultKind::ApiRetryAfter(value) => ("api-retry-after", field(value)),
        };
        f.write_str(name)?;
        if value.is_empty() {
            Ok(())
        } else {
            write!(f, "={value}")
        }
    }
}

impl TokenBody {
    fn name(self) -> &'static str {
        TOKEN_BODIES
            .iter()
            .find(|(_, body)| *body == self)
            .map_or("", |(name, _)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        text.parse::<Fault>().unwrap_err().to_string()
    }

    #[test]
    fn every_fault_reads_as_it_is_written() {
        let mut texts: Vec<_> = FORMS
            .iter()
            .map(|form| {
                if form.example.is_empty() {
                    form.name.to_owned()
                } else {
                    format!("{}={}", form.name, form.example)
                }
            })
            .collect();
        texts.extend(
            TOKEN_BODIES
                .iter()
                .map(|(name, _)| format!("token-body={name}")),
        );
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
            assert_eq!((counted.to_string(), counted), (text, fault.kind.times(3)));
        }
    }

    #[test]
    fn a_wrong_text_is_told_what_is_right() {
        assert_eq!(
            error("token-dealy=2s"),
            "there is no fault \"token-dealy\"; did you mean token-delay?"
        );
        assert!(
            error("x").contains("there are token-delay, token-hang, "),
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
        assert!(
            error("token-delay=2").starts_with("token-delay: no time; write a number and its unit")
        );
        for status in ["99", "100", "1000", "x"] {
            assert!(
                error(&format!("api-status={status}")).contains("from 200 to 999"),
                "{status}"
            );
        }
        assert!(error("token-body=xml").contains("there are empty, html, no-token, crlf"));
        assert!(error("token-expires-in=1 2").starts_with("token-expires-in: no JSON"));
        assert!(error("token-retry-after=a\nb").contains("no text that a header field can have"));
        for count in ["0", "4294967296"] {
            assert!(
                error(&format!("token-hang*{count}")).contains("count of calls"),
                "{count}"
            );
        }
    }
}
