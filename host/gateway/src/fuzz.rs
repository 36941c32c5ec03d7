//! For tests/fuzz: what reads bytes that are not ours. Not part of the API.

use std::sync::OnceLock;

use hyper::HeaderMap;
use hyper::header::HeaderName;

use crate::admin;
use crate::auth::Users;
use crate::config::{self, Passwords, TenantFields};
use crate::password::{Inspector, Secret};

/// Everything that somebody may be told of a configuration.
pub fn configuration(text: &str) -> Vec<String> {
    let mut file = match config::from_text("remora.toml", text) {
        Ok(file) => file,
        Err(error) => return vec![error.to_string()],
    };
    let mut said = vec![format!("{file:?}")];
    match file.addresses() {
        Ok(addresses) => {
            let meaning = file.explain(&addresses, file.tenant.len());
            said.extend(meaning.into_iter().flat_map(|(what, how)| [what, how]));
        }
        Err(error) => said.push(error.to_string()),
    }
    let timeouts = file.timeouts();
    let mut errors = vec![
        file.limits().err(),
        file.admin().err(),
        file.session_header().err(),
        file.envoy_addresses().err(),
        file.check_for_envoy().err(),
        file.check_tenants().err(),
        file.own_tenants().err(),
        config::secrets(&file.user, Passwords::Any).err(),
        file.check_storage().err(),
    ];
    for tenant in &file.tenant {
        errors.extend([
            tenant.limits().err(),
            tenant.plugin_limits().err(),
            tenant.storage_bytes().err(),
            tenant.secrets().err(),
        ]);
    }
    let pools = file.tenant.iter().map(TenantFields::pool);
    for pool in pools.chain([file.pool()]) {
        pool.proxy_config();
        if let Ok(timeouts) = &timeouts {
            errors.push(pool.settings(*timeouts).err());
        }
        match pool.proxies() {
            Ok(proxies) => said.push(format!("{proxies:?}")),
            Err(error) => said.push(error.to_string()),
        }
    }
    errors.push(timeouts.err());
    said.extend(errors.into_iter().flatten().map(|error| error.to_string()));
    said
}

/// Session, tags and time to live in milliseconds of an authenticated client. There is one user, alice, whose password is
/// s3cret, and a session header, x-session-id.
pub fn hear(headers: &mut HeaderMap) -> Option<(Option<String>, Vec<String>, Option<u64>)> {
    static INSPECTOR: OnceLock<Option<Inspector>> = OnceLock::new();
    let inspector = INSPECTOR.get_or_init(|| Inspector::new().ok()).as_ref()?;
    let mut users = Users::new(Some(HeaderName::from_static("x-session-id")));
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
