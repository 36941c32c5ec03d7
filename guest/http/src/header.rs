//! The header fields that are not forwarded, and the name of the session header.

use alloc::string::String;

use remora_core::Invalid;

/// The fields of one connection (RFC 9110 §7.6.1), in lower case. Not forwarded, as those that `Connection` names and those
/// whose name begins with `proxy-`.
pub const HOP_BY_HOP: [&str; 6] = [
    "connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "keep-alive",
];

/// Fields that cannot carry a session id: they have a meaning of their own on the way.
const RESERVED: [&str; 5] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "proxy-authorization",
];

/// Checks `client.session_header`; the name in lower case.
///
/// # Errors
///
/// [`Invalid`] for a name that is not a field name (RFC 9110 §5.1), or that has a meaning of its own.
pub fn session_header(name: &str) -> Result<String, Invalid> {
    let lower = name.to_ascii_lowercase();
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || !name.bytes().all(is_token) || RESERVED.contains(&&*lower) {
        let accepted = "the name of a header that means nothing else, such as `x-session-id`";
        return Err(Invalid::new("client.session_header", name, accepted));
    }
    Ok(lower)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_header_is_a_field_name_without_another_meaning() {
        assert_eq!(session_header("X-Session-Id").unwrap(), "x-session-id");
        assert_eq!(session_header("a.b~c").unwrap(), "a.b~c");
        for name in [
            "",
            "a b",
            "a:b",
            ":authority",
            "naïve",
            "x\r\ny",
            "Host",
            "Proxy-Authorization",
            "content-length",
        ] {
            let error = session_header(name).unwrap_err();
            assert_eq!(error.field, "client.session_header");
        }
    }
}
