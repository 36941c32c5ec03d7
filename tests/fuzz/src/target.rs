//! A fuzz target, and helpers that several targets share.

/// A function of bytes, and what the smoke run does with it.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and that of its corpus.
    pub name: &'static str,
    /// Panics if something does not hold.
    pub run: fn(&[u8]),
    /// How many mutations the smoke run tries: about a second's worth.
    pub mutations: u64,
    /// Words that mutations put in.
    pub words: &'static [&'static str],
}

/// The texts that stand once in `text` between `before` and `after`: secrets, where nothing else is called so. They
/// begin as those of the corpora do, so that none is a word of an error by accident.
pub(crate) fn secrets<'a>(text: &'a str, before: &str, after: char) -> Vec<&'a str> {
    let rests = text
        .match_indices(before)
        .map(|(at, _)| &text[at + before.len()..]);
    let values = rests.filter_map(|rest| rest.split_once(after));
    values
        .map(|(value, _)| value)
        .filter(|value| value.starts_with("hunter") && text.matches(value).count() == 1)
        .collect()
}

/// Bytes that are taken as numbers, one after the other; zeroes when they are used up.
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

impl Bytes<'_> {
    pub(crate) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// Of three kinds: small, close to the largest, any.
    pub(crate) fn number(&mut self) -> u64 {
        let mut word = [0; 8];
        match self.byte().unwrap_or(0) {
            255 => u64::MAX - u64::from(self.byte().unwrap_or(0)),
            kind @ 240.. => {
                for place in word.iter_mut().take(usize::from(kind) - 239) {
                    *place = self.byte().unwrap_or(0);
                }
                u64::from_le_bytes(word)
            }
            small => u64::from(small),
        }
    }

    pub(crate) fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::from(self.byte().unwrap_or(0)) % choices.len()]
    }
}
