//! From text to fields: every unknown field and every value of a wrong kind, in errors that hold no secret.
//!
//! serde stops at the first error. So the field with the error is taken out of the document, and the rest is read again,
//! until no error is left.

use std::mem;
use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue, Deserializer};

use super::error::{BuildError, Problem};
use super::source::Source;
use super::type_errors;

/// The most errors that are reported.
const MAX_PROBLEMS: usize = 100;

/// How far a name may be off to be offered instead (Jaro-Winkler, 1 is equal).
const NEAR: f64 = 0.7;

/// The fields of a file, and their errors.
pub(super) struct Parsed<T> {
    /// The fields, without those that something is wrong with; `None` where that leaves nothing.
    pub(super) fields: Option<T>,
    pub(super) problems: Vec<Problem>,
    /// The fields with an error: further errors of the same field are not reported.
    pub(super) wrong: Vec<String>,
}

impl<T> Parsed<T> {
    /// Whether a field, or a table around it, has an error.
    pub(super) fn has_reported(&self, field: &str) -> bool {
        self.wrong.iter().any(|wrong| {
            let rest = field.strip_prefix(wrong.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        })
    }
}

impl<T> Parsed<T> {
    /// All problems of the file, in its order. `errors`: invalid values of its fields.
    pub(super) fn problems(&self, source: &Source, errors: Vec<BuildError>) -> Vec<Problem> {
        let mut problems = self.problems.clone();
        for error in errors {
            let place = error.place();
            if !self.has_reported(&place) {
                problems.push(Problem::of(source, &place, error));
            }
        }
        problems.sort_by_key(Problem::order);
        problems
    }
}

/// A step from a value to one inside of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

/// A field as errors name it: `proxy[1].weight`.
fn name(path: &[Step]) -> String {
    path.iter().fold(String::new(), |name, step| match step {
        Step::Index(index) => format!("{name}[{index}]"),
        Step::Key(key) if name.is_empty() => key.clone(),
        Step::Key(key) => format!("{name}.{key}"),
    })
}

pub(super) fn parse<T: DeserializeOwned>(source: &Source) -> Parsed<T> {
    let mut parsed = Parsed {
        fields: None,
        problems: Vec::new(),
        wrong: Vec::new(),
    };
    let mut root = match DeTable::parse(&source.text) {
        Ok(root) => root,
        Err(error) => {
            // The error's own `Display` shows the line it is about, which may hold a password.
            let line = source.line_at(error.span().map_or(0, |span| span.start));
            let message = error.message().lines().next().unwrap_or_default();
            parsed.problems.push(Problem::at(line, message.to_owned()));
            return parsed;
        }
    };
    while parsed.problems.len() < MAX_PROBLEMS {
        let error = match T::deserialize(Deserializer::from(root.clone())) {
            Ok(fields) => {
                parsed.fields = Some(fields);
                break;
            }
            Err(error) => error,
        };
        let message = error.message().lines().next().unwrap_or_default();
        let span = error.span().unwrap_or(0..0);
        if !take_out::<T>(source, &mut root, message, &span, &mut parsed) {
            let line = source.line_at(span.start);
            let reason = "this cannot be read".to_owned();
            parsed.problems.push(Problem::at(line, reason));
            break;
        }
    }
    parsed
}

/// Reports an error, and takes its field out of the document. Answers whether it did.
fn take_out<T: DeserializeOwned>(
    source: &Source,
    root: &mut Spanned<DeTable<'_>>,
    message: &str,
    span: &Range<usize>,
    parsed: &mut Parsed<T>,
) -> bool {
    let line = source.line_at(span.start);
    let table = header(&source.text, line - 1);
    if let Some((unknown, expected)) = unknown_name(message, "field") {
        let Some(path) = find(root.get_ref(), &|key, _| key == Some(span)) else {
            return false;
        };
        let (inside, _) = path.split_at(path.len() - 1);
        let stray = !inside.is_empty() && top_level::<T>().iter().any(|known| known == unknown);
        let reason = if stray {
            parsed.wrong.push(unknown.to_owned());
            let table = table.unwrap_or("a table");
            format!("`{unknown}` stands in {table}; move it above the first table")
        } else {
            if let Some(nearest) = nearest(unknown, expected) {
                // The field that was most likely meant is not missing, too.
                let mut meant = inside.to_vec();
                meant.push(Step::Key(nearest.to_owned()));
                if value_at(root.get_mut(), &meant).is_none() {
                    parsed.wrong.push(name(&meant));
                }
            }
            unknown_in("field", unknown, expected, table)
        };
        parsed.problems.push(Problem::at(line, reason));
        parsed.wrong.push(name(&path));
        return remove(root.get_mut(), &path).is_some();
    }
    let Some(mut path) = find(root.get_ref(), &|_, value| value == span) else {
        return false;
    };
    if let Some(field) = quoted(message, "missing field ") {
        let element = value_at(root.get_mut(), &path);
        let Some(DeValue::Table(fields)) = element else {
            return false;
        };
        // All fields that have to be there are strings.
        let nothing = Spanned::new(span.clone(), DeValue::String("".into()));
        if fields
            .insert(Spanned::new(span.clone(), field.to_owned().into()), nothing)
            .is_some()
        {
            return false;
        }
        path.push(Step::Key(field.to_owned()));
        let missing = name(&path);
        if !parsed.has_reported(&missing) {
            parsed.problems.push(Problem::at(line, message.to_owned()));
            parsed.wrong.push(missing);
        }
        return true;
    }
    let key = path.iter().rev().find_map(|step| match step {
        Step::Key(key) => Some(key.as_str()),
        Step::Index(_) => None,
    });
    let Some(value) = value_at(root.get_mut(), &path) else {
        return false;
    };
    let reason = type_errors::explain(message, key, value, table);
    parsed.problems.push(Problem::at(line, reason));
    parsed.wrong.push(name(&path));
    if message.contains("expected struct ") {
        // The elements behind it keep their numbers.
        if !matches!(value, DeValue::Table(_)) && matches!(path.last(), Some(Step::Index(_))) {
            *value = DeValue::Table(DeTable::new());
            return true;
        }
    }
    remove(root.get_mut(), &path).is_some()
}

/// Whether a key, if there is one, and its value stand at the place that is looked for.
type IsIt<'a> = dyn Fn(Option<&Range<usize>>, &Range<usize>) -> bool + 'a;

/// The way to the innermost value, or to the field, whose spans are such: of its key and of itself.
fn find(table: &DeTable<'_>, is_it: &IsIt<'_>) -> Option<Vec<Step>> {
    fn inside(
        value: &Spanned<DeValue<'_>>,
        key: Option<&Range<usize>>,
        is_it: &IsIt<'_>,
    ) -> Option<Vec<Step>> {
        let inner = match value.get_ref() {
            DeValue::Table(table) => find(table, is_it),
            DeValue::Array(values) => values.iter().enumerate().find_map(|(i, value)| {
                let mut path = vec![Step::Index(i)];
                path.extend(inside(value, None, is_it)?);
                Some(path)
            }),
            _ => None,
        };
        inner.or_else(|| is_it(key, &value.span()).then(Vec::new))
    }
    table.iter().find_map(|(key, value)| {
        let mut path = vec![Step::Key(key.get_ref().to_string())];
        path.extend(inside(value, Some(&key.span()), is_it)?);
        Some(path)
    })
}

fn value_at<'a, 'i>(table: &'a mut DeTable<'i>, path: &[Step]) -> Option<&'a mut DeValue<'i>> {
    let (Step::Key(first), rest) = path.split_first()? else {
        return None;
    };
    let mut value = table.get_mut(first.as_str())?.get_mut();
    for step in rest {
        value = match (step, value) {
            (Step::Key(key), DeValue::Table(table)) => table.get_mut(key.as_str())?.get_mut(),
            (Step::Index(index), DeValue::Array(values)) => values.get_mut(*index)?.get_mut(),
            _ => return None,
        };
    }
    Some(value)
}

fn remove(table: &mut DeTable<'_>, path: &[Step]) -> Option<()> {
    let (last, around) = path.split_last()?;
    match (last, around) {
        (Step::Key(key), []) => table.remove(key.as_str()).map(drop),
        (Step::Key(key), around) => match value_at(table, around)? {
            DeValue::Table(table) => table.remove(key.as_str()).map(drop),
            _ => None,
        },
        (Step::Index(index), around) => match value_at(table, around)? {
            DeValue::Array(values) => {
                let all = mem::replace(values, DeArray::new()).into_iter().enumerate();
                let rest = all.filter(|(i, _)| i != index);
                *values = rest.map(|(_, value)| value).collect();
                Some(())
            }
            _ => None,
        },
    }
}

/// The fields at the top of a file: those that serde expects there.
fn top_level<T: DeserializeOwned>() -> Vec<String> {
    let error = toml::from_str::<T>("\"?\" = 0").err();
    let message = error.as_ref().map_or("", toml::de::Error::message);
    let expected = unknown_name(message, "field").map_or("", |(_, expected)| expected);
    names(expected).map(str::to_owned).collect()
}

/// The header of the table that a line (counted from 0) stands in, none for the top level and for headers.
fn header(text: &str, line: usize) -> Option<&str> {
    let header = |line: &str| line.trim_start().starts_with('[');
    let lines: Vec<&str> = text.lines().take(line + 1).collect();
    if lines.get(line).is_some_and(|line| header(line)) {
        return None;
    }
    let found = lines.iter().rfind(|line| header(line))?.trim();
    let end = found.rfind(']')?;
    found.get(..=end).filter(|table| is_safe(table, "[].-_ "))
}

/// Whether a string consists of letters, digits and these: any other one in the place of a name may be a URL, with a
/// password.
pub(super) fn is_safe(text: &str, also: &str) -> bool {
    text.chars()
        .all(|c| c.is_ascii_alphanumeric() || also.contains(c))
}

fn quoted<'a>(message: &'a str, before: &str) -> Option<&'a str> {
    let rest = message.strip_prefix(before)?;
    rest.strip_prefix('`')?.strip_suffix('`')
}

/// serde's words for a name that is not known: the name, and the names that it expects.
pub(super) fn unknown_name<'a>(message: &'a str, kind: &str) -> Option<(&'a str, &'a str)> {
    let rest = message.strip_prefix("unknown ")?.strip_prefix(kind)?;
    rest.strip_prefix(" `")?.split_once("`, expected ")
}

/// The names in serde's list of expected ones.
fn names(expected: &str) -> impl Iterator<Item = &str> {
    expected.split('`').skip(1).step_by(2)
}

/// The known name that is most like this one, if any is near enough.
pub(super) fn nearest<'a>(name: &str, expected: &'a str) -> Option<&'a str> {
    let known = names(expected).map(|known| (strsim::jaro_winkler(name, known), known));
    let nearest = known.max_by(|a, b| a.0.total_cmp(&b.0));
    nearest.and_then(|(likeness, known)| (likeness >= NEAR).then_some(known))
}

fn unknown_in(kind: &str, name: &str, expected: &str, table: Option<&str>) -> String {
    let place = table
        .map(|table| format!(" in {table}"))
        .unwrap_or_default();
    match nearest(name, expected) {
        _ if !is_safe(name, "-_") => format!("unknown {kind}{place}, expected {expected}"),
        Some(known) => format!("unknown {kind} `{name}`{place}; did you mean `{known}`?"),
        None => format!("unknown {kind} `{name}`{place}, expected {expected}"),
    }
}

/// serde's words for a field that is not known, with the nearest one that is; `None` where they are about something
/// else.
pub(crate) fn unknown(message: &str) -> Option<String> {
    let (name, expected) = unknown_name(message, "field")?;
    Some(unknown_in("field", name, expected, None))
}

#[cfg(test)]
mod tests {
    use crate::config::from_text;

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
                "t:2: `mode` in [sticky] is `domian`; accepted: `disabled` or `domain`; did you mean `domain`?",
            ),
            (
                "[rotation]\nstrategy = \"roundrobin\"",
                "t:2: `strategy` in [rotation] is `roundrobin`; accepted: `round-robin`, `random`, `weighted`, `least-used`; did you mean `round-robin`?",
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
            assert_eq!(from_text("t", text).unwrap_err().to_string(), message);
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
            let error = from_text("t", text).unwrap_err();
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
            let error = from_text("t", text).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("918273"), "{error}");
        }
    }
}
