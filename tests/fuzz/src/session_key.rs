//! A target, and a whole session key. What comes out is printable, bounded, and stays as it is when it is read again.

use remora_core::{MAX_KEY_LEN, SessionKey};

use crate::Target;

pub(crate) const TARGET: Target = Target {
    name: "session_key",
    run,
    mutations: 500_000,
    words: &[
        ":443", ":", "[", "]", "::", "?", "&", "#", ".", "xn--", "\u{fc}",
    ],
};

fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(key) = SessionKey::parse(text) {
        let key = key.as_str();
        assert!(!key.is_empty() && key.len() <= MAX_KEY_LEN);
        assert!(key.bytes().all(|byte| byte.is_ascii_graphic()));
        assert_eq!(SessionKey::parse(key).unwrap().as_str(), key);
    }
}
