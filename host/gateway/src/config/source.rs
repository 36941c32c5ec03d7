//! The text of a file, and where in it a field stands.

use std::fmt;

use toml::de::{DeTable, DeValue};

/// A file that was read. `Debug` does not show its text.
#[derive(Clone)]
pub(super) struct Source {
    /// The file, as errors name it.
    pub(super) path: String,
    pub(super) text: String,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Source").field(&self.path).finish()
    }
}

impl Source {
    /// The line, counted from 1, of a byte.
    pub(super) fn line_at(&self, offset: usize) -> usize {
        let before = self.text.get(..offset).unwrap_or(&self.text);
        before.matches('\n').count() + 1
    }

    /// The line of a field such as `proxy[1].weight`, or of the innermost of the tables around it that is there.
    pub(super) fn line_of(&self, field: &str) -> Option<usize> {
        let root = DeTable::parse(&self.text).ok()?;
        let mut table = Some(root.get_ref());
        let mut found = None;
        for segment in field.split('.') {
            let (name, index) = match segment.strip_suffix(']').and_then(|s| s.split_once('[')) {
                Some((name, index)) => (name, index.parse::<usize>().ok()),
                None => (segment, None),
            };
            let Some((key, value)) = table.and_then(|table| table.get_key_value(name)) else {
                break;
            };
            found = Some(key.span().start);
            let mut value = value;
            if let (Some(index), DeValue::Array(values)) = (index, value.get_ref()) {
                let Some(element) = values.get(index) else {
                    break;
                };
                found = Some(element.span().start);
                value = element;
            }
            table = value.get_ref().as_table();
        }
        found.map(|offset| self.line_at(offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_has_the_line_of_its_key_or_of_the_table_around_it() {
        let source = Source {
            path: "t".into(),
            text:
                "listen = 1\n[[proxy]]\nurl = 1\n[[proxy]]\n\nweight = 2\n[a.b]\nc = [\n 1,\n 2]\n"
                    .into(),
        };
        for (field, line) in [
            ("listen", Some(1)),
            ("proxy[0].url", Some(3)),
            ("proxy[1].weight", Some(6)),
            ("proxy[1].url", Some(4)),
            ("proxy[2].url", Some(2)),
            ("a.b.c", Some(8)),
            ("a.b.c[1]", Some(10)),
            ("a.x", Some(7)),
            ("user", None),
            ("", None),
        ] {
            assert_eq!(source.line_of(field), line, "{field}");
        }
    }
}
