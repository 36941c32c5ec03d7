//! What an operator sends: a path, and on the next lines a body. No answer shows a password.

use remora::fuzz::{add_proxies, admin_path};

use crate::{Target, secrets};

pub(crate) const TARGET: Target = Target {
    name: "admin",
    run,
    mutations: 200_000,
    words: &[
        "/tenants/",
        "/proxies",
        "/sessions/",
        "%2F",
        "\"url\": \"http://a:hunter2hunter2@b:1\"",
        "\"weight\": ",
        "\"tags\": [\"\"]",
        "\"exits\": 4294967295",
        "{session}",
        "\\u0000",
        "[[[[",
        "-1",
    ],
};

fn run(data: &[u8]) {
    let (path, body) = match data.iter().position(|byte| *byte == b'\n') {
        Some(at) => (&data[..at], &data[at + 1..]),
        None => (data, data),
    };
    if let Ok(path) = std::str::from_utf8(path)
        && let Some((tenant, methods)) = admin_path(path)
    {
        assert!(path.starts_with('/') && !methods.is_empty());
        let rest = tenant.map(|name| format!("/tenants/{name}/"));
        assert!(rest.is_none_or(|rest| path.starts_with(&rest)), "{path}");
    }
    let told = add_proxies(body);
    let text = String::from_utf8_lossy(body);
    for secret in secrets(&text, "://a:", '@') {
        assert!(!told.contains(secret), "a password is shown");
    }
}
