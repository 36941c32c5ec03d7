//! SIGHUP: the file is read again, and what can change while it serves changes.

use std::collections::HashSet;
use std::path::Path;

use uuid::Uuid;

use super::Failure;
use crate::config::{self, ConfigError, File};
use crate::gateway::Gateway;

/// Applies what is in the file now. All of it is checked before any of it is applied.
pub(super) async fn reload(path: &Path, old: &File, gateway: &Gateway) -> Result<File, Failure> {
    let new = config::read(path)?;
    let wrong = |error| ConfigError::Build {
        path: path.display().to_string(),
        error,
    };
    new.addresses().map_err(wrong)?;
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
    for field in new.needs_restart(old) {
        tracing::warn!("`{field}` has changed: that takes a restart");
    }
    tracing::info!(
        proxies = stay.len(),
        removed = gone.len(),
        "the file was read again"
    );
    Ok(new)
}
