//! Text of somebody else on its way into an error or a log.

use alloc::string::String;

/// The most characters that are kept.
const LIMIT: usize = 400;

/// Cut to a length that a log can bear, with control characters made visible: a plugin, or who wrote a value, writes no
/// lines of its own into a log. What is so already stays as it is.
pub fn bounded(text: &str) -> String {
    let mut out = String::new();
    let mut room = LIMIT;
    for c in text.chars() {
        let escaped = c.is_control().then(|| c.escape_default());
        let length = escaped.as_ref().map_or(1, ExactSizeIterator::len);
        if length > room {
            out.push('…');
            break;
        }
        room -= length;
        match escaped {
            Some(escaped) => out.extend(escaped),
            None => out.push(c),
        }
    }
    out
}

/// So many milliseconds as a person writes them: in the largest unit that says it without a fraction.
pub fn time(ms: u64) -> String {
    let units = [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "m"),
        (1_000, "s"),
    ];
    let exact = units
        .into_iter()
        .find(|(unit, _)| ms > 0 && ms.is_multiple_of(*unit));
    let (unit, name) = exact.unwrap_or((1, "ms"));
    alloc::format!("{}{name}", ms / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_shown_in_the_largest_unit_that_says_it() {
        let shown = [
            0,
            1,
            1_500,
            2_000,
            90_000,
            600_000,
            7_200_000,
            34_560_000_000,
        ]
        .map(time);
        let people = ["0ms", "1ms", "1500ms", "2s", "90s", "10m", "2h", "400d"];
        assert_eq!(shown, people);
    }

    #[test]
    fn a_plugin_writes_no_lines_of_its_own_into_a_log() {
        assert_eq!(bounded("a\n\x1b[31mb"), "a\\n\\u{1b}[31mb");
    }

    #[test]
    fn a_long_text_is_cut_once() {
        for text in ["é", "\n", "ab\x7f"] {
            let cut = bounded(&text.repeat(10_000));
            assert!((LIMIT - 5..=LIMIT + 1).contains(&cut.chars().count()));
            assert_eq!(bounded(&cut), cut);
        }
    }
}
