//! From text to fields, with errors that help and hold no secret.

use serde::de::DeserializeOwned;

use super::{ConfigError, kind};

/// How far a name may be off to be offered instead (Jaro-Winkler, 1 is equal).
const NEAR: f64 = 0.7;

pub(super) fn parse<T: DeserializeOwned>(path: &str, text: &str) -> Result<T, ConfigError> {
    toml::from_str(text).map_err(|error| {
        // The error's own text shows the line it is about, which may hold a password.
        let at = error.span().map_or(0, |span| span.start);
        let before = text.get(..at).unwrap_or(text);
        let line = before.matches('\n').count();
        let table = table(text, line);
        ConfigError::Parse {
            path: path.to_owned(),
            line: line + 1,
            reason: explain(error.message(), text, at, table),
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

fn explain(message: &str, text: &str, at: usize, table: Option<&str>) -> String {
    let first_line = message.lines().next().unwrap_or(message);
    if let Some(wrong) = kind::explain(first_line, text, at, table) {
        return wrong;
    }
    unknown(first_line, table).unwrap_or_else(|| first_line.to_owned())
}

/// serde's words for a name that is not known, with the nearest one that is; `None` where they are about something
/// else.
pub(crate) fn unknown(message: &str, table: Option<&str>) -> Option<String> {
    let (kind, name, expected) = ["field", "variant"].into_iter().find_map(|kind| {
        let rest = message.strip_prefix("unknown ")?.strip_prefix(kind)?;
        let (name, expected) = rest.strip_prefix(" `")?.split_once("`, expected ")?;
        Some((kind, name, expected))
    })?;
    let place = table
        .map(|table| format!(" in {table}"))
        .unwrap_or_default();
    let nearest = expected
        .split('`')
        .skip(1)
        .step_by(2)
        .map(|known| (strsim::jaro_winkler(name, known), known))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    Some(match nearest {
        _ if !is_safe(name, "-_") => format!("unknown {kind}{place}, expected {expected}"),
        Some((likeness, known)) if likeness >= NEAR => {
            format!("unknown {kind} `{name}`{place}; did you mean `{known}`?")
        }
        _ => format!("unknown {kind} `{name}`{place}, expected {expected}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::File;

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
                "t:2: `ttl` in [sticky] is `300`; accepted: a length of time with its unit, such as \"30s\" or \"10m\"",
            ),
            (
                "[sticky]\nttl = \"5 lightyears\"",
                "t:2: `ttl` in [sticky] is `5 lightyears`; accepted: a length of time with its unit, such as \"30s\" or \"10m\"",
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
            (
                "listen = 8080",
                "t:1: `listen` is `8080`; accepted: an address and its port in quotes, such as \"127.0.0.1:8080\"",
            ),
            (
                "admin = \"localhost:9090\"",
                "t:1: `admin` is no such address; accepted: an address and its port in quotes, such as \"127.0.0.1:8080\"",
            ),
            (
                "[retry]\nattempts = \"2\"",
                "t:2: `attempts` in [retry] is `2`; accepted: a whole number from 0 to 4294967295, without quotes",
            ),
            (
                "[retry]\nblocked = \"yes\"",
                "t:2: `blocked` in [retry] is a text; accepted: true or false, without quotes",
            ),
            (
                "[outcome]\nblocked_statuses = 403",
                "t:2: `blocked_statuses` in [outcome] is `403`; accepted: a list: [403]",
            ),
            (
                "[outcome]\nblocked_statuses = [\n  403,\n  -1,\n]",
                "t:4: `blocked_statuses` in [outcome] is `-1`; accepted: a whole number from 0 to 65535",
            ),
            (
                "[[proxy]]\nurl = \"http://x\"\ntags = \"de\"",
                "t:3: `tags` in [[proxy]] is a text; accepted: a list of texts, such as [\"a\", \"b\"]",
            ),
            (
                "[sticky]\nmax_sessions = -1",
                "t:2: `max_sessions` in [sticky] is `-1`; accepted: a whole number from 0 on",
            ),
            (
                "[sticky]\noverride = [{ match = \"a.example\", ttl = 5 }]",
                "t:2: `ttl` in [sticky] is `5`; accepted: a length of time with its unit, such as \"30s\" or \"10m\"",
            ),
            (
                "proxy = [{ url = \"http://x\", tags = [\"de\", 5] }]",
                "t:1: `tags` is `5`; accepted: a text in quotes",
            ),
            (
                "[sticky]\noverride = [\n  { match = \"a.example\" },\n  { match = { b = 1 } },\n]",
                "t:4: `match` in [sticky] is a table; accepted: a text in quotes",
            ),
            (
                "sticky = 1",
                "t:1: `sticky` is `1`; accepted: a table of its own",
            ),
            (
                "plugin = true",
                "t:1: `plugin` is `true`; accepted: a text in quotes",
            ),
        ] {
            assert_eq!(parse::<File>("t", text).unwrap_err().to_string(), message);
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
            let error = parse::<File>("t", text).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
        }
        for text in [
            "[[user]]\nname = \"alice\"\npassword = 918273",
            "[[user]]\nname = \"alice\"\npassword = -918273",
            "[[user]]\nname = \"alice\"\npassword = 918273.5",
            "[[user]]\nname = \"alice\"\npassword = [918273]",
            "admin_token = 918273",
            "admin_token = 9182739182739182739182739",
            "[[proxy]]\nurl = 918273",
            "storage = 918273",
            "user = [{ name = \"alice\", password = [918273] }]",
            "user = [{ name = \"alice\",\n  password = { a = 918273 } }]",
        ] {
            let error = parse::<File>("t", text).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("918273"), "{error}");
        }
    }
}
