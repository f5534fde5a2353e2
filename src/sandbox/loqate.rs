//! Address search through Loqate: one street, with a number for each result.

use serde_json::{Value, json};

use super::api_call::{ApiCall, CallFields};
use super::api_error::ApiError;
use super::response::{SandboxResponse, ok};

const MAX_TEXT_CHARS: usize = 255;

/// GBG documents limits from 1 to 25; its default is not published.
const MAX_ITEMS: u64 = 25;
const DEFAULT_ITEMS: u64 = 10;

const ADDRESS_PREFIX: &str = "sandbox-address-";

/// Finds as many addresses as the call asks for, whatever the text is. The fields of an item are
/// those of Loqate's Capture API.
pub(super) fn search(call: &ApiCall<'_>, fields: &CallFields) -> Result<SandboxResponse, ApiError> {
    let instance = fields.required("instanceId")?;
    if fields.required("text")?.chars().count() > MAX_TEXT_CHARS {
        return Err(ApiError::Field("text", "at most 255 characters"));
    }
    let limit = match fields.get("/limit") {
        Value::Null => DEFAULT_ITEMS,
        limit => limit
            .as_u64()
            .filter(|limit| (1..=MAX_ITEMS).contains(limit))
            .ok_or(ApiError::Field("limit", "a number from 1 to 25"))?,
    };
    let item = |number| {
        json!({
            "Id": format!("{ADDRESS_PREFIX}{number}"), "Type": "Address",
            "Text": line(number), "Highlight": "", "Description": "Sandbox, SB1 1SB",
        })
    };
    let items: Vec<_> = (1..=limit).map(item).collect();
    call.with_journey(instance, |_| ok(&json!({"Items": items})))
}

/// Returns an address that [`search`] finds.
pub(super) fn retrieve(
    call: &ApiCall<'_>,
    fields: &CallFields,
) -> Result<SandboxResponse, ApiError> {
    let instance = fields.required("instanceId")?;
    let id = fields.required("addressId")?;
    call.with_journey(instance, |_| ())?;
    let number = id.strip_prefix(ADDRESS_PREFIX);
    let number = number.and_then(|number| number.parse::<u64>().ok());
    let number = number.filter(|number| (1..=MAX_ITEMS).contains(number));
    let number = number.ok_or(ApiError::NotFound("address"))?;
    let item = json!({
        "Id": id, "Line1": line(number), "City": "Sandbox", "PostalCode": "SB1 1SB", "CountryIso2": "GB",
    });
    Ok(ok(&json!({"Items": [item]})))
}

fn line(number: u64) -> String {
    format!("{number} Sandbox Street")
}
