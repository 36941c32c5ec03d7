//! From text to fields, with errors that help and hold no secret.

use super::{ConfigError, File};

/// How far a name may be off to be offered instead (Jaro-Winkler, 1 is equal).
const NEAR: f64 = 0.7;

pub(super) fn parse(path: &str, text: &str) -> Result<File, ConfigError> {
    toml::from_str(text).map_err(|error| {
        // The error's own text shows the line it is about, which may hold a password.
        let at = error.span().map_or(0, |span| span.start);
        let before = text.get(..at).unwrap_or(text);
        ConfigError::Parse {
            path: path.to_owned(),
            line: before.matches('\n').count() + 1,
            reason: explain(error.message()),
        }
    })
}

/// serde says "unknown field `x`, expected one of `a`, `b`": the nearest of them helps more.
fn explain(message: &str) -> String {
    let first_line = message.lines().next().unwrap_or(message);
    if let Some((_, expected)) = first_line
        .split_once(": string \"")
        .and_then(|(_, rest)| rest.rsplit_once("\", expected "))
    {
        // The string itself may be a URL with a password.
        return format!("a text stands where {expected} is expected");
    }
    let quoted: Vec<&str> = first_line.split('`').skip(1).step_by(2).collect();
    let Some((unknown, known)) = quoted.split_first() else {
        return first_line.to_owned();
    };
    if !first_line.starts_with("unknown field") && !first_line.starts_with("unknown variant") {
        return first_line.to_owned();
    }
    let nearest = known
        .iter()
        .map(|name| (strsim::jaro_winkler(unknown, name), *name))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        Some((likeness, name)) if likeness >= NEAR => {
            let kind = first_line.split(' ').nth(1).unwrap_or("field");
            format!("unknown {kind} `{unknown}`; did you mean `{name}`?")
        }
        _ => first_line.to_owned(),
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
                "t:3: unknown field `tll`; did you mean `ttl`?",
            ),
            (
                "[sticky]\nmode = \"domian\"",
                "t:2: unknown variant `domian`; did you mean `domain`?",
            ),
            (
                "[rotation]\nstrategy = \"roundrobin\"",
                "t:2: unknown variant `roundrobin`; did you mean `round-robin`?",
            ),
            (
                "[[proxy]]\nurl = \"http://x\"\nwieght = 2",
                "t:3: unknown field `wieght`; did you mean `weight`?",
            ),
            (
                "[sticky]\nttl = 300",
                "t:2: invalid type: integer `300`, expected a length of time with its unit, such as \"30s\" or \"10m\"",
            ),
            (
                "[sticky]\nttl = \"5 lightyears\"",
                "t:2: \"5 lightyears\" is not a length of time; write it with its unit, such as \"30s\" or \"10m\"",
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
            "[[proxy]]\nurl = \"http://user:s3cret@host:1\"\nweight = \"s3cret\"",
        ] {
            let error = parse("t", text).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
        }
    }
}
