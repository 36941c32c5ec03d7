//! For tests/fuzz: what reads bytes that are not ours. Not part of the API.

use std::sync::OnceLock;

use hyper::HeaderMap;
use hyper::header::HeaderName;

use crate::admin;
use crate::auth::{ParamRules, Users};
use crate::config::{self, Shell};
use crate::password::{Inspector, Secret};

/// Every message about a configuration, for either program.
pub fn configuration(text: &str) -> Vec<String> {
    let mut said = Vec::new();
    for shell in [Shell::Gateway, Shell::Envoy] {
        let draft = config::draft("remora.toml", text);
        said.push(format!("{draft:?}"));
        match draft.validate(shell) {
            Ok(config) => {
                let meaning = config.file.explain(&config.addresses, config.tenants.len());
                said.extend(meaning.into_iter().flat_map(|(what, how)| [what, how]));
                said.push(format!("{config:?}"));
            }
            Err(error) => {
                said.push(format!("{error:?}"));
                said.extend(error.lines());
            }
        }
    }
    said
}

/// Session, tags and time to live in milliseconds of an authenticated client. There is one user, alice, whose password is
/// s3cret, and a session header, x-session-id.
pub fn hear(headers: &mut HeaderMap) -> Option<(Option<String>, Vec<String>, Option<u64>)> {
    static INSPECTOR: OnceLock<Option<Inspector>> = OnceLock::new();
    let inspector = INSPECTOR.get_or_init(|| Inspector::new().ok()).as_ref()?;
    let mut users = Users::new(ParamRules {
        session_header: Some(HeaderName::from_static("x-session-id")),
        ..ParamRules::default()
    });
    users.add("alice".into(), Secret::Plain("s3cret".into()), ());
    let pending = users.authenticate(headers, inspector).ok()?;
    let ((), params) = pending.verified().ok()?;
    Some((params.session, params.tags, params.ttl_ms))
}

/// What must not be passed on is gone.
pub fn strip(headers: &mut HeaderMap) {
    crate::headers::strip(headers);
}

/// What an operator is told who adds this to a pool.
pub fn add_proxies(body: &[u8]) -> String {
    admin::added_as_told(body)
}

/// The tenant that a path of the admin interface names, and the methods it takes; `None`: nothing is there.
pub fn admin_path(path: &str) -> Option<(Option<&str>, &'static str)> {
    admin::place_as_told(path)
}
