//! From text to fields, with errors that help and hold no secret.

use super::{ConfigError, File};

/// How far a name may be off to be offered instead (Jaro-Winkler, 1 is equal).
const NEAR: f64 = 0.7;

pub(super) fn parse(path: &str, text: &str) -> Result<File, ConfigError> {
    toml::from_str(text).map_err(|error| {
        // The error's own text shows the line it is about, which may hold a password.
        let at = error.span().map_or(0, |span| span.start);
        let before = text.get(..at).unwrap_or(text);
        let line = before.matches('\n').count();
        ConfigError::Parse {
            path: path.to_owned(),
            line: line + 1,
            reason: explain(error.message(), table(text, line)),
        }
    })
}

/// The header of the table that a line (counted from 0) stands in, none for the top level and for headers.
fn table(text: &str, line: usize) -> Option<&str> {
    let header = |line: &str| line.trim_start().starts_with('[');
    let lines: Vec<&str> = text.lines().take(line + 1).collect();
    if lines.get(line).is_some_and(|line| header(line)) {
        return None;
    }
    let found = lines.iter().rfind(|line| header(line))?.trim();
    let end = found.rfind(']')?;
    found.get(..=end).filter(|table| is_safe(table, "[].-_ "))
}

/// Whether a text is made of nothing but letters, digits and these: what else stands where a name should
/// may be a URL, with a password.
fn is_safe(text: &str, also: &str) -> bool {
    text.chars()
        .all(|c| c.is_ascii_alphanumeric() || also.contains(c))
}

/// serde says "unknown field `x`, expected one of `a`, `b`": the nearest of them helps more.
fn explain(message: &str, table: Option<&str>) -> String {
    let first_line = message.lines().next().unwrap_or(message);
    if let Some((_, expected)) = first_line
        .split_once(": string \"")
        .and_then(|(_, rest)| rest.rsplit_once("\", expected "))
    {
        // The string itself may be a URL with a password.
        return format!("a text stands where {expected} is expected");
    }
    let unknown = ["field", "variant"].into_iter().find_map(|kind| {
        let rest = first_line.strip_prefix("unknown ")?.strip_prefix(kind)?;
        let (name, expected) = rest.strip_prefix(" `")?.split_once("`, expected ")?;
        Some((kind, name, expected))
    });
    let Some((kind, name, expected)) = unknown else {
        return first_line.to_owned();
    };
    let place = table
        .map(|table| format!(" in {table}"))
        .unwrap_or_default();
    let nearest = expected
        .split('`')
        .skip(1)
        .step_by(2)
        .map(|known| (strsim::jaro_winkler(name, known), known))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        _ if !is_safe(name, "-_") => format!("unknown {kind}{place}, expected {expected}"),
        Some((likeness, known)) if likeness >= NEAR => {
            format!("unknown {kind} `{name}`{place}; did you mean `{known}`?")
        }
        _ => format!("unknown {kind} `{name}`{place}, expected {expected}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said_with_its_line_and_the_nearest_name() {
        for (text, message) in [
            (
                "listne = \"x\"",
                "t:1: unknown field `listne`; did you mean `listen`?",
            ),
            (
                "\n[sticky]\ntll = \"5m\"",
                "t:3: unknown field `tll` in [sticky]; did you mean `ttl`?",
            ),
            (
                "[sticky]\nmode = \"domian\"",
                "t:2: unknown variant `domian` in [sticky]; did you mean `domain`?",
            ),
            (
                "[rotation]\nstrategy = \"roundrobin\"",
                "t:2: unknown variant `roundrobin` in [rotation]; did you mean `round-robin`?",
            ),
            (
                "[[proxy]]\nurl = \"http://x\"\nwieght = 2",
                "t:3: unknown field `wieght` in [[proxy]]; did you mean `weight`?",
            ),
            (
                "[sticky]\nttl = 300",
                "t:2: invalid type: integer `300`, expected a length of time with its unit, such as \"30s\" or \"10m\"",
            ),
            (
                "[sticky]\nttl = \"5 lightyears\"",
                "t:2: \"5 lightyears\" is not a length of time; write it with its unit, such as \"30s\" or \"10m\"",
            ),
            (
                "[[sticky.override]] # one\nmach = \"*.example\"",
                "t:2: unknown field `mach` in [[sticky.override]]; did you mean `match`?",
            ),
            (
                "[sticky]\nttl = \"5m\"\n[braker]\n",
                "t:3: unknown field `braker`; did you mean `breaker`?",
            ),
            (
                "[timeouts]\nxyz = 1",
                "t:2: unknown field `xyz` in [timeouts], expected one of `connect`, `head`, `idle`, `client`",
            ),
            ("[[proxy]]\nweight = 1", "t:1: missing field `url`"),
        ] {
            assert_eq!(parse("t", text).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn no_error_shows_a_password() {
        for text in [
            "[[proxy]]\nurl = \"http://user:s3cret@host:1\"\nurl = \"http://user:s3cret@host:1\"",
            "[[proxy]]\nurl = \"http://user:s3cret@host:1",
            "[[proxy]]\nurl = \"http://user:s3cret@host:1\" s3cret",
            "[[proxy]]\nurl = [\"http://user:s3cret@host:1\"]",
            "proxy = \"http://user:s3cret@host:1\"",
            "[[proxy]]\nurl = http://user:s3cret@host:1",
            "[[proxy]]\n\"http://user:s3cret@host:1\" = 1",
            "[\"http://user:s3cret@host:1\"]\nlisten = 1",
            "[sticky]\nmode = \"http://user:s3cret@host:1\"",
            "http://user:s3cret@host:1",
            "[[proxy]]\nurl = \"http://user:s3cret@host:1\"\nweight = \"s3cret\"",
        ] {
            let error = parse("t", text).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
        }
    }
}
