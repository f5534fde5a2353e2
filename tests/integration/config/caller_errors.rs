//! Callers of the file that are refused: unknowable or ambiguous ones, keys in clear, rights beyond
//! everybody's, and bad values.

use crate::config::callers::{DIGEST, KEY, OTHER, TLS, caller_with, good, refused};

#[test]
fn a_caller_without_usable_credentials_is_rejected() {
    refused(
        "\n[[caller]]\nname = \"crm\"",
        "2:1: caller \"crm\": it has no way to authenticate",
        &["`gbg-proxy key new crm`"],
    );
    refused(
        &caller_with("certificate = \"a\""),
        "4:1: caller \"crm\": certificate: it has no effect: callers are not asked",
        &["client_ca"],
    );
    let no_client_ca = TLS.replace("client_ca = \"cert.pem\"\n", "");
    let text = caller_with("certificate = \"a\"") + &no_client_ca;
    refused(
        &text,
        "4:1: caller \"crm\": certificate: it has no effect: callers are not asked",
        &["client_ca"],
    );
    refused(
        &caller_with("uid = 5"),
        "4:1: caller \"crm\": uid: it has no effect: 127.0.0.1:8080 does not identify users",
        &["unix:"],
    );
    // What the system says where it knows no user.
    let text = caller_with("uid = 4294967295") + "[listen]\naddress = \"unix:/x.sock\"";
    refused(
        &text,
        "4:1: caller \"crm\": uid: no user has this number",
        &["`id -u NAME`"],
    );
    refused(
        &caller_with("uid = -1"),
        "4:1: caller \"crm\": uid: invalid number -1: it is negative",
        &["a whole number from 0"],
    );
    refused(
        &caller_with("certificate = \"CN=crm\""),
        "4:1: caller \"crm\": certificate: invalid subject alternative name \"CN=crm\": this is a subject",
        &["\"crm.corp.example\""],
    );
    refused(
        &caller_with("certificate = \"DNS:crm\""),
        "4:1: caller \"crm\": certificate: invalid subject alternative name \"DNS:crm\": a name is written without",
        &["write \"crm\""],
    );
}

#[test]
fn ambiguous_callers_are_rejected() {
    let text = caller_with("") + &caller_with("").replace(DIGEST, OTHER);
    refused(
        &text,
        "6:1: caller \"crm\": name: another caller has this name",
        &["its own name"],
    );
    let text = caller_with("") + &caller_with("").replace("crm", "billing");
    refused(
        &text,
        "7:1: caller \"billing\": key_sha256: caller \"crm\" has this key",
        &["`gbg-proxy key new billing`"],
    );
    let text = format!("[[caller]]\nname = \"crm\"\nkey_sha256 = [\"{DIGEST}\", \"{DIGEST}\"]");
    refused(
        &text,
        "3:1: caller \"crm\": key_sha256: the same key is written twice",
        &[],
    );
    let certificates = "[[caller]]\nname = \"a\"\ncertificate = \"x\"\n[[caller]]\nname = \"b\"\ncertificate = \"X\"\n";
    let text = format!("{certificates}{TLS}");
    refused(
        &text,
        "6:1: caller \"b\": certificate: caller \"a\" has this certificate",
        &["one caller"],
    );
    let text = "[[caller]]\nname = \"a\"\nuid = 1\n[[caller]]\nname = \"b\"\nuid = 1\n[listen]\naddress = \"unix:/x\"";
    refused(
        text,
        "6:1: caller \"b\": uid: caller \"a\" has this uid",
        &["one caller"],
    );
}

#[test]
fn a_plaintext_key_is_rejected_and_not_quoted() {
    let with = |value: &str| format!("[[caller]]\nname = \"crm\"\nkey_sha256 = {value}\n");
    let place = "3:1: caller \"crm\": key_sha256: invalid SHA-256: this is the key itself";
    refused(
        &with(&format!("\"{KEY}\"")),
        place,
        &["write its SHA-256 alone", "gbg-proxy key new"],
    );
    refused(&with(&format!("[\"{DIGEST}\", \"{KEY}\"]")), place, &[]);
    refused(&with(&format!("\"Bearer {KEY}\"")), place, &[]);
    refused(&with(KEY), "3:", &["invalid TOML"]);
    refused(
        &format!("[[caller]]\nname = \"{KEY}\""),
        "2:1: caller 1: name: invalid name: this looks like a key",
        &[],
    );
    refused(
        &caller_with(&format!("uid = \"{KEY}\"")),
        "4:1: caller \"crm\": uid: invalid number: it is not a number",
        &[],
    );
    refused(
        &caller_with(&format!("certificate = \"{KEY}\"")),
        "4:1: caller \"crm\": certificate: invalid subject alternative name: this looks like",
        &[],
    );

    for value in ["\"\"", "1", "\"82A1\""] {
        refused(
            &with(value),
            "3:1: caller \"crm\": key_sha256: invalid SHA-256",
            &["gbg-proxy key new NAME"],
        );
    }
    refused(
        &with("[]"),
        "3:1: caller \"crm\": key_sha256: invalid list: a caller has one key, or two",
        &["write one SHA-256"],
    );
    let three = format!("[\"{DIGEST}\", \"{OTHER}\", \"{OTHER}\"]");
    refused(
        &with(&three),
        "3:1: caller \"crm\": key_sha256: invalid list: a caller has one key, or two",
        &[],
    );
    refused(
        &with(&format!("\"{}\"", DIGEST.to_uppercase())),
        "3:1: caller \"crm\": key_sha256: invalid SHA-256",
        &["lower case"],
    );
}

#[test]
fn a_callers_permissions_stay_within_the_global_ones() {
    let outside = caller_with("allow = [\"/v2/captain/\", \"/other/\"]");
    refused(
        &outside,
        "4:1: caller \"crm\": allow: \"/other/\" is outside",
        &["\"/v2/captain/\", \"/captain/api/\""],
    );
    refused(
        &caller_with("allow = [\"/v2/\"]"),
        "4:1: caller \"crm\": allow: \"/v2/\" is outside",
        &[],
    );
    refused(
        &caller_with("allow = [\"/v2\"]"),
        "4:1: caller \"crm\": allow: invalid path prefix \"/v2\"",
        &["write \"/v2/\""],
    );
    refused(
        &caller_with("allow = []"),
        "4:1: caller \"crm\": allow: an empty list",
        &["remove it"],
    );
    let methods = "[upstream]\nmethods = [\"GET\", \"POST\"]";
    let text = caller_with("methods = [\"DELETE\"]") + methods;
    refused(
        &text,
        "4:1: caller \"crm\": methods: DELETE is not one of upstream.methods",
        &["GET, POST"],
    );
    refused(
        &caller_with("methods = []"),
        "4:1: caller \"crm\": methods: an empty list",
        &[],
    );
    good(&caller_with("methods = [\"DELETE\"]"));
    refused(
        "[upstream]\nmethods = [\"get\"]",
        "2:1: upstream.methods: invalid method \"get\": methods are case-sensitive",
        &["write \"GET\""],
    );
}

#[test]
fn an_invalid_caller_value_explains_its_key() {
    refused(
        &caller_with("rate = \"100\""),
        "4:1: caller \"crm\": rate: invalid rate \"100\": the time is missing",
        &["write \"100/s\""],
    );
    refused(
        &caller_with("max_in_flight = 0"),
        "4:1: caller \"crm\": max_in_flight: invalid number 0: it is too small",
        &["a whole number from 1"],
    );
    refused(
        &caller_with("expires = \"soon\""),
        "4:1: caller \"crm\": expires: invalid date \"soon\"",
        &["midnight UTC"],
    );
    refused(
        &caller_with("expires = 2027-01-31T18:00:00"),
        "4:1: caller \"crm\": expires: invalid date 2027-01-31T18:00:00: the offset of the time is missing",
        &[],
    );
    refused(
        &caller_with("rat = 1"),
        "4:1: caller \"crm\": rat: there is no such key",
        &["did you mean rate?"],
    );
    refused(
        &caller_with("secret = 1"),
        "4:1: caller \"crm\": secret: there is no such key",
        &["key_sha256"],
    );
    refused(
        &caller_with("").replace("crm", "c r m"),
        "2:1: caller 1: name: invalid name \"c r m\"",
        &["64 letters"],
    );
    refused(
        "[[caller]]\nuid = 1",
        "1:1: caller 1: name: it is missing",
        &["write name = \"crm\""],
    );
    refused(
        "[caller]\nname = \"crm\"",
        "1:2: caller: this is a list of sections",
        &["[[caller]]"],
    );
    refused(
        "[[callers]]\nname = \"crm\"",
        "1:3: callers: there is no such key",
        &["did you mean [[caller]]?"],
    );
    refused(
        "caller = [1]",
        "1:11: caller: this is a list of sections",
        &["[[caller]]"],
    );
    refused(
        "\"caller[0]\" = 1",
        "1:1: \"caller[0]\": there is no such key",
        &[],
    );
}
