//! The head of a request. Who is not known is not heard, and what is meant for the gateway does not go on.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{HeaderMap, HeaderName, HeaderValue, PROXY_AUTHORIZATION};
use remora::fuzz::{hear, strip};

use crate::Target;

pub(crate) const TARGET: Target = Target {
    name: "request_head",
    run,
    mutations: 150_000,
    words: &[
        "\r\n",
        "Proxy-Authorization: Basic YWxpY2U6czNjcmV0\r\n",
        "Proxy-Authorization: Basic YWxpY2Utc2Vzc2lvbi03OnMzY3JldA==\r\n",
        "Connection: x\r\n",
        "x-session-id: ",
        "Transfer-Encoding: chunked\r\n",
        "-session-",
        "-sesstime-",
        "-tag-",
    ],
};

fn run(data: &[u8]) {
    user_name(data);
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut fields);
    if request.parse(data).is_err() {
        return;
    }
    let mut headers = HeaderMap::new();
    for field in request
        .headers
        .iter()
        .take_while(|field| !field.name.is_empty())
    {
        let name = HeaderName::from_bytes(field.name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(field.value)) {
            headers.append(name, value);
        }
    }
    heard(headers.clone());
    strip(&mut headers);
    for (name, _) in &headers {
        let name = name.as_str();
        assert!(!name.starts_with("proxy-"), "{name}");
        assert!(
            ![
                "connection",
                "te",
                "trailer",
                "transfer-encoding",
                "upgrade",
                "keep-alive"
            ]
            .contains(&name)
        );
    }
}

/// The same bytes as a user name, with the right password.
fn user_name(data: &[u8]) {
    if let Ok(user) = std::str::from_utf8(data) {
        heard(HeaderMap::from_iter([(
            PROXY_AUTHORIZATION,
            basic(user, "s3cret"),
        )]));
        heard(HeaderMap::from_iter([(
            PROXY_AUTHORIZATION,
            basic(&format!("alice{user}"), "s3cret"),
        )]));
    }
}

fn heard(mut headers: HeaderMap) {
    let given = headers.get(PROXY_AUTHORIZATION).cloned();
    if let Some((session, tags, ttl_ms)) = hear(&mut headers) {
        // Somebody who says that he is alice, and knows her password.
        let given = given.expect("credentials");
        let given = given
            .to_str()
            .expect("text")
            .split_once(' ')
            .expect("two words")
            .1;
        let (user, password) = decoded(given);
        assert!(user == "alice" || user.starts_with("alice-"), "{user}");
        assert_eq!(password, "s3cret");
        assert!(session.is_none_or(|session| session.starts_with("alice/")));
        assert!(tags.iter().all(|tag| !tag.is_empty()));
        assert_ne!(ttl_ms, Some(0));
        assert!(!headers.contains_key("x-session-id"));
    }
}

fn basic(user: &str, password: &str) -> HeaderValue {
    let encoded = STANDARD.encode(format!("{user}:{password}"));
    format!("Basic {encoded}")
        .parse()
        .expect("a header's value")
}

fn decoded(encoded: &str) -> (String, String) {
    let bytes = STANDARD.decode(encoded.trim()).expect("base64");
    let text = String::from_utf8(bytes).expect("text");
    let (user, password) = text.split_once(':').expect("a colon");
    (user.to_owned(), password.to_owned())
}
