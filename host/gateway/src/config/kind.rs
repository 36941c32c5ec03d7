//! A value of the wrong kind: which field it is, what stands there, and what would be accepted, in the words of the
//! file rather than of Rust.

use toml::de::{DeTable, DeValue};

/// Where texts and numbers are, or may hold, a password.
const SECRET: [&str; 6] = [
    "url",
    "password",
    "password_hash",
    "admin_token",
    "storage",
    "name",
];

/// The longest value that is shown.
const LONGEST: usize = 24;

/// What serde says of a value ("invalid type: integer `8080`, expected socket address"), in other words. `text`: the
/// file; `at`: where in it the value begins; `table`: the header of its table.
pub(super) fn explain(message: &str, text: &str, at: usize, table: Option<&str>) -> Option<String> {
    if message == "invalid socket address syntax" {
        let field = place(key(text, at).as_deref(), table);
        let accepted = accepted("socket address", "", None);
        return Some(format!("{field} is no such address; accepted: {accepted}"));
    }
    let rest = ["invalid type: ", "invalid value: "].into_iter();
    let rest = rest
        .filter_map(|problem| message.strip_prefix(problem))
        .next()?;
    // The value may hold anything, what is expected cannot.
    let (given, expected) = rest.rsplit_once(", expected ")?;
    let key = key(text, at);
    let key = key.as_deref();
    let (kind, value) = read(given);
    let shown = value.filter(|value| is_harmless(key, kind, value));
    let is = shown.map_or(kind.to_owned(), |value| format!("`{value}`"));
    let field = place(key, table);
    let accepted = accepted(expected, kind, shown);
    Some(format!("{field} is {is}; accepted: {accepted}"))
}

/// The name of the field whose value, or part of whose value, stands at `at`.
fn key(text: &str, at: usize) -> Option<String> {
    // What is of the wrong kind is TOML all the same.
    innermost(DeTable::parse(text).ok()?.get_ref(), at)
}

fn innermost(table: &DeTable<'_>, at: usize) -> Option<String> {
    table.iter().find_map(|(name, value)| {
        let own = || {
            value
                .span()
                .contains(&at)
                .then(|| name.get_ref().to_string())
        };
        inside(value.get_ref(), at).or_else(own)
    })
}

/// The field inside of a value; none where the value is no table, nor a list of such.
fn inside(value: &DeValue<'_>, at: usize) -> Option<String> {
    match value {
        // A table's span may be its header's alone.
        DeValue::Table(table) => innermost(table, at),
        DeValue::Array(values) => values.iter().find_map(|value| inside(value.get_ref(), at)),
        _ => None,
    }
}

fn place(key: Option<&str>, table: Option<&str>) -> String {
    match (key, table) {
        (Some(key), Some(table)) => format!("`{key}` in {table}"),
        (Some(key), None) => format!("`{key}`"),
        (None, _) => "what stands here".into(),
    }
}

/// The kind of a value in plain words, and the value where there is one.
fn read(given: &str) -> (&'static str, Option<&str>) {
    let kinds = [
        ("string", "a text"),
        ("integer", "a whole number"),
        ("floating point", "a number with a fraction"),
        ("boolean", "true or false"),
        ("sequence", "a list"),
        ("map", "a table"),
    ];
    let found = kinds
        .into_iter()
        .find_map(|(kind, words)| Some((words, given.strip_prefix(kind)?.trim())));
    let Some((words, value)) = found else {
        return ("something else", None);
    };
    let bare = value
        .strip_prefix(['"', '`'])
        .and_then(|value| value.strip_suffix(['"', '`']));
    (words, bare)
}

/// Whether a value can be shown: a number may be a password without its quotes, and what is no number or address at
/// all may be one that slipped into the wrong line.
fn is_harmless(key: Option<&str>, kind: &str, value: &str) -> bool {
    let Some(key) = key.filter(|key| !SECRET.contains(key)) else {
        return false;
    };
    let with = |also: &str| {
        let mut all = value.chars();
        value.len() <= LONGEST && all.all(|c| c.is_ascii_alphanumeric() || also.contains(c))
    };
    if kind != "a text" || key == "listen" || key == "admin" {
        return with("-.:[]_");
    }
    value.starts_with(|c: char| c.is_ascii_digit() || c == '-') && with("-. ")
}

/// What is expected, as the file has it.
fn accepted(expected: &str, kind: &str, shown: Option<&str>) -> String {
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
            return match (kind, shown) {
                ("a text", _) => "a list of texts, such as [\"a\", \"b\"]".into(),
                (_, Some(value)) => format!("a list: [{value}]"),
                _ => "a list in brackets".into(),
            };
        }
        _ if expected.starts_with("struct ") || expected == "a map" => {
            return "a table of its own".into();
        }
        other => return other.to_owned(),
    };
    let quotes = if kind == "a text" {
        ", without quotes"
    } else {
        ""
    };
    match most {
        Some(most) => format!("a whole number from 0 to {most}{quotes}"),
        None => format!("a whole number from 0 on{quotes}"),
    }
}
