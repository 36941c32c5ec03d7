//! `remora.toml`. Whatever is wrong with it, no answer shows a password.

use crate::{Target, secrets};

pub(crate) const TARGET: Target = Target {
    name: "configuration",
    run,
    mutations: 16_000,
    words: &[
        "[[proxy]]\n",
        "[[user]]\n",
        "[[tenant]]\n",
        "[sticky]\n",
        "password = \"hunter2hunter2\"\n",
        "{session}",
        "exits = 3\n",
        "0",
        "-1",
        "18446744073709551615",
        "\"\"",
        "'''",
        "366d",
        "storage = \"redis://a:hunter2hunter2@h\"\n",
    ],
};

fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let said = remora::fuzz::configuration(text);
    for secret in secrets(text, "password = \"", '"') {
        let shown = said.iter().find(|said| said.contains(secret));
        assert_eq!(shown, None, "a password is shown");
    }
}
