//! Everything in remora that reads bytes of a tenant, a client, an operator or a network, as functions of bytes:
//! they may answer what they like, but not panic, and what each says in its file must hold.
//!
//! `make fuzz` has libFuzzer look for inputs (`libfuzzer/`). `make test` runs the same functions over the corpora
//! and over mutations of them that are the same every time (`tests/smoke.rs`). An input that once broke something
//! stays in its corpus.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod admin;
mod component;
mod configuration;
mod decisions;
mod envoy_configuration;
mod proxy_url;
mod redb_file;
mod redis_reply;
mod request_head;
mod session_key;
mod trace;

pub mod mutate;

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

/// All of them.
pub const TARGETS: [Target; 11] = [
    admin::TARGET,
    component::TARGET,
    configuration::TARGET,
    decisions::TARGET,
    envoy_configuration::TARGET,
    proxy_url::TARGET,
    redb_file::TARGET,
    redis_reply::TARGET,
    request_head::TARGET,
    session_key::TARGET,
    trace::TARGET,
];

/// Runs the target of this name, for libFuzzer.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.expect("a target of this name").run)(data);
}

/// The texts that stand once in `text` between `before` and `after`: secrets, where nothing else is called so. They
/// begin as those of the corpora do, so that none is a word of an error by accident.
fn secrets<'a>(text: &'a str, before: &str, after: char) -> Vec<&'a str> {
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
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// Of three kinds: small, close to the largest, any.
    fn number(&mut self) -> u64 {
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

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::from(self.byte().unwrap_or(0)) % choices.len()]
    }
}
