//! SIGHUP: the file is read again, and what can change while it serves changes.

use std::collections::HashSet;
use std::path::Path;

use uuid::Uuid;

use super::{Failure, check};
use crate::config::{self, ConfigError, File};
use crate::gateway::Gateway;

/// Reads the file again. All of it is checked, as `remora check` does, before any of it is applied; `old` is what
/// the gateway runs with.
pub(super) async fn read(path: &Path, old: &File) -> Result<File, Failure> {
    let mut new = config::read(path)?;
    for field in new.needs_restart(old) {
        tracing::warn!("`{field}` has changed: that takes a restart");
    }
    // The sockets stay where they are: what the file says of clients has to be good enough for them.
    new.stay_at(old);
    check::dry(path, &new).await?;
    Ok(new)
}

/// Applies it.
pub(super) async fn apply(
    path: &Path,
    old: &File,
    new: &File,
    gateway: &Gateway,
) -> Result<(), Failure> {
    let wrong = |error| ConfigError::Build {
        path: path.display().to_string(),
        error,
    };
    let settings = new.settings().map_err(wrong)?;
    let proxies = new.proxies().map_err(wrong)?;
    let mut stay = HashSet::new();
    for proxy in &proxies {
        stay.insert(proxy.id()?);
    }
    let manager = gateway.manager();
    manager.reconfigure(new.proxy_config()).await?;
    manager.add_proxies(proxies).await?;
    // Only those that the old file had: what an operator has added stays.
    let gone: Vec<Uuid> = old
        .proxies()
        .map_err(wrong)?
        .iter()
        .filter_map(|proxy| proxy.id().ok())
        .filter(|id| !stay.contains(id))
        .collect();
    for id in &gone {
        gateway.remove_proxy(*id).await?;
    }
    gateway.set(settings);
    tracing::info!(
        proxies = stay.len(),
        removed = gone.len(),
        "the file was read again"
    );
    Ok(())
}
