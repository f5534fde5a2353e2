//! Messages of serde about a value, which they quote.

/// Whether serde's message quotes a value that is longer than the typo of any name or number.
pub(crate) fn quotes_long_value(message: &str) -> bool {
    const LONGEST: usize = 60;
    message
        .rsplit_once(", expected ")
        .is_some_and(|(found, _)| found.len() > LONGEST)
}

/// serde's message without the value that it quotes, which may be a secret under the wrong key.
pub(crate) fn without_value(message: &str) -> String {
    let quotes = [
        "unknown variant ",
        "invalid type: string ",
        "invalid value: ",
    ];
    let is_quoted = quotes.iter().any(|begin| message.starts_with(begin));
    match message.rsplit_once(", expected ") {
        Some((_, expected)) if is_quoted => {
            format!("invalid value (it is not shown); expected {expected}")
        }
        _ => message.to_owned(),
    }
}
