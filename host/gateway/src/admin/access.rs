//! Access to the admin interface: the bearer token.

use std::fmt;
use std::sync::Arc;

use hyper::header::{AUTHORIZATION, HeaderMap};
use subtle::ConstantTimeEq;

use crate::config::AdminAccess;

const BEARER: &[u8] = b"Bearer ";

/// The admin interface.
#[derive(Clone, Debug, Default)]
pub struct Admin {
    /// Required for write requests; `None`: the interface is read-only.
    pub token: Option<Token>,
    /// Whether read requests require the token, too.
    pub guarded: bool,
}

impl From<&AdminAccess> for Admin {
    fn from(access: &AdminAccess) -> Self {
        Self {
            token: access.token.as_ref().map(|token| Token::new(&token.0)),
            guarded: access.guarded,
        }
    }
}

/// A secret of the configuration that an operator sends.
#[derive(Clone)]
pub struct Token(Arc<str>);

impl Token {
    /// A token with this secret.
    pub fn new(secret: &str) -> Self {
        Self(secret.into())
    }

    /// Whether these headers carry it. The comparison takes constant time.
    pub(super) fn is_shown_in(&self, headers: &HeaderMap) -> bool {
        let shown = headers.get(AUTHORIZATION).map(|value| value.as_bytes());
        let shown = shown.and_then(|value| value.split_at_checked(BEARER.len()));
        let shown = shown.filter(|(scheme, _)| scheme.eq_ignore_ascii_case(BEARER));
        let shown = shown.map(|(_, token)| token);
        shown.is_some_and(|shown| shown.ct_eq(self.0.as_bytes()).into())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_is_accepted() {
        let token = Token::new("s3cret");
        let shows = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, value.parse().unwrap());
            token.is_shown_in(&headers)
        };
        assert!(shows("Bearer s3cret") && shows("bearer s3cret"));
        for wrong in [
            "Bearer s3cre",
            "Bearer s3cret2",
            "s3cret",
            "Basic s3cret",
            "Bearer ",
        ] {
            assert!(!shows(wrong), "{wrong}");
        }
        assert!(!token.is_shown_in(&HeaderMap::new()));
        assert!(!format!("{token:?}").contains("s3cret"));
    }
}
