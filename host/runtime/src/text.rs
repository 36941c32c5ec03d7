//! Text that comes from a plugin or its author, on its way into an error or a log.

/// The most characters that are kept.
const LIMIT: usize = 400;

/// Cut to a length that a log can bear, with control characters made visible: a plugin writes no lines of its
/// own into the host's log.
pub(crate) fn bounded(text: &str) -> String {
    let mut out = String::new();
    for (i, c) in text.chars().enumerate() {
        if i == LIMIT {
            out.push('…');
            break;
        }
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_writes_no_lines_of_its_own_into_a_log() {
        assert_eq!(bounded("a\n\x1b[31mb"), "a\\n\\u{1b}[31mb");
    }

    #[test]
    fn a_long_text_is_cut() {
        assert_eq!(bounded(&"é".repeat(10_000)).chars().count(), LIMIT + 1);
    }
}
