//! `[envoy]`: what differs between the gateway and an Envoy with remora's filter.

use std::net::SocketAddr;

use serde::Deserialize;

use super::BuildError;
use super::build::field;
use super::file::File;

/// `[envoy]`
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvoyFields {
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) admin: Option<SocketAddr>,
}

impl File {
    /// Where Envoy listens, and where its admin interface is.
    pub(crate) fn envoy_addresses(&self) -> Result<(SocketAddr, Option<SocketAddr>), BuildError> {
        let listen = self.envoy.listen.unwrap_or(self.listen);
        let admin = self.envoy.admin.or(self.admin);
        for (name, address) in [("envoy.listen", Some(listen)), ("envoy.admin", admin)] {
            if let Some(address) = address
                && !address.ip().is_loopback()
                && !self.allow_remote
            {
                let accepted = "an address of this machine only (127.0.0.1, [::1]): Envoy does not ask clients \
                                who they are. If something else keeps strangers out, set `allow_remote = true`";
                return Err(field(name, address, accepted));
            }
        }
        Ok((listen, admin))
    }

    /// What the gateway does and Envoy cannot: refused, since a field that does nothing helps nobody.
    pub(crate) fn check_for_envoy(&self) -> Result<(), BuildError> {
        if let Some(user) = self.user.first() {
            let accepted = "no [[user]]: Envoy does not ask clients who they are";
            return Err(field("user[0].name", &user.name, accepted));
        }
        if !self.storage.is_memory() {
            let accepted = "memory: Envoy keeps sessions in its own";
            return Err(field("storage", "…", accepted));
        }
        if let Some(record) = &self.record {
            let accepted = "left out: a filter cannot write files";
            return Err(field("record", record.display(), accepted));
        }
        if let Some(plugin) = &self.plugin {
            let accepted = "left out: Envoy does not load components";
            return Err(field("plugin", plugin.display(), accepted));
        }
        if self.retry.blocked == Some(true) {
            let accepted = "false: Envoy tries another proxy only where the first was not reached";
            return Err(field("retry.blocked", true, accepted));
        }
        Ok(())
    }
}
