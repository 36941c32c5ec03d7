//! What must not be passed on (RFC 9110 §7.6.1).

use hyper::HeaderMap;
use hyper::header::{self, HeaderName};
use remora_http::HOP_BY_HOP;

/// Removes what belongs to the connection that the message came on: hop-by-hop fields, those that
/// `Connection` names, and everything that begins with `Proxy-`.
pub(crate) fn strip(headers: &mut HeaderMap) {
    // RFC 9112 §6.3: where both are there, it is not the length that holds.
    if headers.contains_key(header::TRANSFER_ENCODING) {
        headers.remove(header::CONTENT_LENGTH);
    }
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    let proxy: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().starts_with("proxy-"))
        .cloned()
        .collect();
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
    for name in named.iter().chain(&proxy) {
        headers.remove(name);
    }
}

/// Whether one of the fields of this name is of a scheme that authenticates a connection rather than a request
/// (RFC 4559 §6).
pub(crate) fn authenticate_a_connection(headers: &HeaderMap, name: HeaderName) -> bool {
    let fields = headers.get_all(name);
    fields.iter().any(|value| {
        let scheme = value.as_bytes().split(|b| *b == b' ').next();
        scheme.is_some_and(|scheme| {
            scheme.eq_ignore_ascii_case(b"ntlm") || scheme.eq_ignore_ascii_case(b"negotiate")
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_one_connection_is_not_passed_on() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Mine"),
            ("x-mine", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-authorization", "Basic c2VjcmV0"),
            ("proxy-connection", "keep-alive"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("content-length", "3"),
            ("upgrade", "h2c"),
            ("cookie", "a=b"),
            ("authorization", "Bearer x"),
        ] {
            headers.append(name, value.parse().unwrap());
        }
        strip(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["authorization", "cookie"]);
    }
}
