//! SIGHUP: the file is read again, and what can change while it serves changes.

use std::path::Path;
use std::sync::Arc;

use super::check;
use crate::config::{self, Config, File, Shell};
use crate::stdout::Failure;
use crate::tenants::{self, Tenants};

/// Reads the file again. All of it is checked, as `remora check` does, before any of it is applied; `old` is what
/// the gateway started with: what takes a restart is still so, whatever was read in between.
pub(super) async fn read(path: &Path, old: &File) -> Result<Config, Failure> {
    let mut draft = config::load(path)?;
    let mut later = Vec::new();
    if let Some(new) = draft.file_mut() {
        if (new.has_tenants(), new.has_own_pool()) != (old.has_tenants(), old.has_own_pool()) {
            let line = "whether there are tenants, and whether there is a pool at the top beside them, takes a restart";
            return Err(line.into());
        }
        if new.tenants.is_some() != old.tenants.is_some() {
            let line =
                "whether tenants stand in `tenants`, a directory, or in [[tenant]] takes a restart";
            return Err(line.into());
        }
        later = new.needs_restart(old);
        // The sockets stay where they are: what the file says of clients has to be good enough for them.
        new.stay_at(old);
    }
    let new = draft.validate_with_paths(Shell::Gateway)?;
    check::dry(path, &new).await?;
    for field in later {
        tracing::warn!("`{field}` has changed: that takes a restart");
    }
    Ok(new)
}

/// Applies it. What cannot be done to the pool at the top keeps nothing else from being done; the next reload tries it
/// again.
pub(super) async fn apply(new: &Config, tenants: &Arc<Tenants>) -> Result<(), Failure> {
    let mut changed = Ok(());
    if let (Some(top), Some(pool)) = (tenants.directory().top(), &new.pool) {
        let settings = pool.settings(new.timeouts);
        let (config, proxies) = (pool.config.clone(), pool.proxies.clone());
        let count = proxies.len();
        match top.gateway().change(config, proxies, settings).await {
            Ok(removed) => tracing::info!(
                proxies = count,
                removed,
                "the pool at the top is as the file says"
            ),
            Err(error) => changed = Err(error.into()),
        }
    }
    let (secrets, params) = (new.secrets.clone(), new.params.clone());
    tenants.set_top(secrets, params, new.timeouts).await;
    if new.file.tenants.is_none() {
        tenants.become_these(tenants::of_file(new)).await;
    }
    if changed.is_ok() {
        tracing::info!("the file was read again");
    }
    changed
}
