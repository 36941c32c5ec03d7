//! Errors for values of the wrong kind: the field, the value and the accepted values, in the words of the file rather
//! than of Rust.

use remora_config::{Secret, Time};
use toml::de::DeValue;

use super::parse::{is_safe, nearest, unknown_name};

/// The longest value that is shown.
const LONGEST: usize = 24;

/// What serde says of a value ("invalid type: integer `8080`, expected socket address"), in other words. `key`: the
/// field; `table`: the header of its table.
pub(super) fn explain(
    message: &str,
    key: Option<&str>,
    value: &DeValue<'_>,
    table: Option<&str>,
) -> String {
    let key = key.unwrap_or_default();
    let field = match table {
        Some(table) => format!("`{key}` in {table}"),
        None => format!("`{key}`"),
    };
    if message == "invalid socket address syntax" {
        let accepted = accepted("socket address", value, None);
        return format!("{field} is no such address; accepted: {accepted}");
    }
    if let Some((name, expected)) = unknown_name(message, "variant") {
        let given = match is_safe(name, "-_") {
            true => format!("`{name}`"),
            false => kind(value).to_owned(),
        };
        let meant = nearest(name, expected).filter(|_| is_safe(name, "-_"));
        let meant = meant.map_or(String::new(), |known| format!("; did you mean `{known}`?"));
        let accepted = expected.strip_prefix("one of ").unwrap_or(expected);
        return format!("{field} is {given}; accepted: {accepted}{meant}");
    }
    let (expected, shown) = if message == Secret::ERROR {
        // A number may be a password without its quotes.
        ("a string", None)
    } else if message.ends_with(Time::ACCEPTED) {
        (Time::ACCEPTED, shown(key, value))
    } else {
        // serde's message repeats the value, which may be a password; the part behind it names a kind.
        let expected = message.rsplit_once(", expected ");
        let expected = expected.map_or("a value of another kind", |(_, expected)| expected);
        (expected, shown(key, value))
    };
    let is = shown
        .as_ref()
        .map_or(kind(value).to_owned(), |value| format!("`{value}`"));
    let accepted = accepted(expected, value, shown.as_deref());
    format!("{field} is {is}; accepted: {accepted}")
}

/// The kind of a value in plain words.
fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// A value that can be shown: one that is neither a number nor an address may be a password in the wrong line.
fn shown(key: &str, value: &DeValue<'_>) -> Option<String> {
    let text = match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => return None,
    };
    let is_text = matches!(value, DeValue::String(_));
    let is_address = key == "listen" || key == "admin";
    let also = if is_text && !is_address {
        let is_number = text.starts_with(|c: char| c.is_ascii_digit() || c == '-');
        is_number.then_some("-. ")?
    } else {
        "-.:[]_"
    };
    (text.len() <= LONGEST && is_safe(&text, also)).then_some(text)
}

/// The expected kind, as the file has it.
fn accepted(expected: &str, value: &DeValue<'_>, shown: Option<&str>) -> String {
    let is_text = matches!(value, DeValue::String(_));
    let most = match expected {
        "u8" => Some(u64::from(u8::MAX)),
        "u16" => Some(u64::from(u16::MAX)),
        "u32" => Some(u64::from(u32::MAX)),
        "u64" | "usize" => None,
        "a boolean" => return "true or false, without quotes".into(),
        "a string" | "path string" | "string" => return "a text in quotes".into(),
        "socket address" => {
            return "an address and its port in quotes, such as \"127.0.0.1:8080\"".into();
        }
        "a sequence" => {
            return match shown {
                _ if is_text => "a list of texts, such as [\"a\", \"b\"]".into(),
                Some(value) => format!("a list: [{value}]"),
                None => "a list in brackets".into(),
            };
        }
        _ if expected.starts_with("struct ") || expected == "a map" => {
            return "a table of its own".into();
        }
        other => return other.to_owned(),
    };
    let quotes = if is_text { ", without quotes" } else { "" };
    match most {
        Some(most) => format!("a whole number from 0 to {most}{quotes}"),
        None => format!("a whole number from 0 on{quotes}"),
    }
}
