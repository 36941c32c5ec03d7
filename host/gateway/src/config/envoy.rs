//! `[envoy]`: what differs between the gateway and an Envoy with remora's filter.

use std::net::SocketAddr;

use serde::Deserialize;

use super::error::{BuildError, field};
use super::file::File;
use super::settings::Addresses;

/// `[envoy]`
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EnvoyFields {
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) admin: Option<SocketAddr>,
}

impl File {
    /// Where Envoy listens, and where its admin interface is.
    pub(super) fn envoy_addresses(&self, errors: &mut Vec<BuildError>) -> Addresses {
        let listen = self.envoy.listen.unwrap_or(self.listen);
        let admin = self.envoy.admin.or(self.admin);
        let name = |own: bool, at: &'static str, top: &'static str| if own { at } else { top };
        let listens = name(self.envoy.listen.is_some(), "envoy.listen", "listen");
        let admins = name(self.envoy.admin.is_some(), "envoy.admin", "admin");
        for (name, address) in [(listens, Some(listen)), (admins, admin)] {
            if let Some(address) = address
                && !address.ip().is_loopback()
                && !self.allow_remote
            {
                let accepted = "an address of this machine only (127.0.0.1, [::1]): Envoy does not ask clients \
                                who they are. If something else keeps strangers out, set `allow_remote = true`";
                errors.push(field(name, address, accepted));
            }
        }
        if admin == Some(listen) {
            let accepted = "another address than Envoy listens on";
            errors.push(field(admins, listen, accepted));
        }
        Addresses {
            listen,
            admin,
            shutdown_after: self.shutdown_after.0,
        }
    }

    /// What the gateway does and Envoy cannot: refused, since a field that does nothing helps nobody.
    pub(super) fn check_for_envoy(&self, errors: &mut Vec<BuildError>) {
        if self.has_tenants() {
            let (name, value) = match &self.tenants {
                Some(directory) => ("tenants", directory.display().to_string()),
                None => ("tenant", format!("{} of them", self.tenant.len())),
            };
            let accepted =
                "left out: inside Envoy nothing keeps tenants apart; run `remora serve` for them";
            errors.push(field(name, value, accepted));
        }
        if let Some(user) = self.user.first() {
            let accepted = "no [[user]]: Envoy does not ask clients who they are";
            errors.push(field("user[0].name", &user.name, accepted));
        }
        if self.admin_token.is_some() && self.admin.is_some() && self.envoy.admin.is_none() {
            let accepted =
                "left out, or `envoy.admin` set: Envoy's admin interface asks nobody for a token";
            errors.push(field("admin_token", "…", accepted));
        }
        if !self.storage.is_memory() {
            let accepted = "memory: Envoy keeps sessions in its own";
            errors.push(field("storage", "…", accepted));
        }
        if let Some(record) = &self.record {
            let accepted = "left out: a filter cannot write files";
            errors.push(field("record", record.display(), accepted));
        }
        if let Some(plugin) = &self.plugin {
            let accepted = "left out: Envoy does not load components";
            errors.push(field("plugin", plugin.display(), accepted));
        }
        if self.retry.blocked == Some(true) {
            let accepted = "false: to the filter a proxy that Envoy went past has failed, and one that is blocked has not";
            errors.push(field("retry.blocked", true, accepted));
        }
    }
}
