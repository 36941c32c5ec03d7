//! The URL of an upstream proxy. No answer shows the password, and an address can be read again.

use remora_host::Proxy;

use crate::{Target, secrets};

pub(crate) const TARGET: Target = Target {
    name: "proxy_url",
    run,
    mutations: 150_000,
    words: &[
        "http://",
        "socks5h://",
        "@",
        ":",
        "[::1]",
        "#2",
        "%",
        "%00",
        "{session}",
        "{tags}",
        "?",
    ],
};

fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let secrets: Vec<&str> = secrets(text, "user:", '@');
    match Proxy::from_url(text) {
        Err(error) => {
            let said = error.to_string();
            assert!(
                !secrets.iter().any(|secret| said.contains(secret)),
                "{said}"
            );
        }
        Ok(proxy) => {
            let said = format!("{proxy:?} {}", proxy.url);
            assert!(
                !secrets.iter().any(|secret| said.contains(secret)),
                "{said}"
            );
            let again = Proxy::from_url(&proxy.url).unwrap();
            assert_eq!(again.url, proxy.url);
            let anonymous = Proxy {
                username: None,
                password: None,
                ..proxy.clone()
            };
            assert_eq!(again, anonymous);
            assert_eq!(again.id(), anonymous.id());
            assert_eq!(proxy.exits(3).len(), 3);
        }
    }
}
