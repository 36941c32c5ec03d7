//! SIGHUP: the file is read again, and what can change while it serves changes.

use std::path::Path;
use std::sync::Arc;

use super::check;
use crate::config::{self, ConfigError, File, Passwords};
use crate::stdout::Failure;
use crate::tenants::{self, Tenants};

/// Reads the file again. All of it is checked, as `remora check` does, before any of it is applied; `old` is what
/// the gateway started with: what takes a restart is still so, whatever was read in between.
pub(super) async fn read(path: &Path, old: &File) -> Result<File, Failure> {
    let mut new = config::read(path)?;
    if (new.has_tenants(), new.has_own_pool()) != (old.has_tenants(), old.has_own_pool()) {
        let line = "whether there are tenants, and whether there is a pool at the top beside them, takes a restart";
        return Err(line.into());
    }
    if new.tenants.is_some() != old.tenants.is_some() {
        let line =
            "whether tenants stand in `tenants`, a directory, or in [[tenant]] takes a restart";
        return Err(line.into());
    }
    let later = new.needs_restart(old);
    // The sockets stay where they are: what the file says of clients has to be good enough for them.
    new.stay_at(old);
    check::dry(path, &new).await?;
    for field in later {
        tracing::warn!("`{field}` has changed: that takes a restart");
    }
    Ok(new)
}

/// Applies it. What cannot be done to the pool at the top keeps nothing else from being done; the next reload tries it
/// again.
pub(super) async fn apply(path: &Path, new: &File, tenants: &Arc<Tenants>) -> Result<(), Failure> {
    let wrong = |error| ConfigError::Build {
        path: path.display().to_string(),
        error,
    };
    let timeouts = new.timeouts().map_err(wrong)?;
    let secrets = config::secrets(&new.user, Passwords::Any).map_err(wrong)?;
    let session_header = new.session_header().map_err(wrong)?;
    let mut changed = Ok(());
    if let Some(top) = tenants.directory().top() {
        let settings = new.pool().settings(timeouts).map_err(wrong)?;
        let proxies = new.pool().proxies().map_err(wrong)?;
        let (config, count) = (new.pool().proxy_config(), proxies.len());
        match top.gateway().change(config, proxies, settings).await {
            Ok(removed) => tracing::info!(
                proxies = count,
                removed,
                "the pool at the top is as the file says"
            ),
            Err(error) => changed = Err(error.into()),
        }
    }
    tenants.set_top(secrets, session_header, timeouts).await;
    if new.tenants.is_none() {
        let wanted = tenants::of_file(new).map_err(wrong)?;
        tenants.become_these(wanted).await;
    }
    if changed.is_ok() {
        tracing::info!("the file was read again");
    }
    changed
}
