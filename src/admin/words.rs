//! Why a token request failed, in words.

/// What `reason` of a token request that failed means, and what to do about it.
pub(super) fn fetch_failure(reason: &str) -> (&'static str, &'static str) {
    const DOCTOR: &str = "`gbg-proxy doctor` shows where the way breaks; the log has the cause";
    const TELL: &str = "if it lasts, tell GBG; the log has what it answered";
    match reason {
        "refused" => (
            "the token endpoint refuses our credentials",
            "check client id, secret and the role \"Go API Access\" of the API client",
        ),
        "status" => ("the token endpoint answers with an error", TELL),
        "answer" => ("the token endpoint's answer is of no use", TELL),
        "too_late" => ("the token was over before it came", TELL),
        "timeout" => ("the token endpoint does not answer in time", DOCTOR),
        "unreachable" => ("the token endpoint cannot be reached", DOCTOR),
        "broken" => ("the connection to the token endpoint broke off", DOCTOR),
        "credentials" => (
            "the client's key or certificate cannot be used",
            "fix what [token] names",
        ),
        _ => ("no token came", "the log has the cause"),
    }
}
