//! The methods that may be sent twice.

/// The idempotent methods (RFC 9110 §9.2.2): sent twice, such a request has the effect of one.
pub const IDEMPOTENT: [&str; 6] = ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"];

/// Whether a method is idempotent. Methods are case-sensitive.
pub fn is_idempotent(method: &str) -> bool {
    IDEMPOTENT.contains(&method)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn post_patch_connect_and_unknown_methods_are_not_idempotent() {
        for method in ["POST", "PATCH", "CONNECT", "get", "", "PURGE"] {
            assert!(!is_idempotent(method), "{method}");
        }
        for method in IDEMPOTENT {
            assert!(is_idempotent(method), "{method}");
        }
    }
}
