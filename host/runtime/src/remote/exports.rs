//! The plugin's exports, for calls that wait. The generated bindings know only calls that do not.

use wasmtime::component::{Func, Instance};
use wasmtime::{Result, Store, error::Context as _};

use super::RemoteState;

/// What is called.
#[derive(Clone, Copy)]
pub(super) struct Exports {
    pub(super) acquire: Func,
    pub(super) session_key: Func,
    pub(super) release: Func,
    pub(super) configure: Func,
    pub(super) add_proxies: Func,
    pub(super) remove_proxy: Func,
    pub(super) set_health: Func,
    pub(super) stats: Func,
    pub(super) proxies: Func,
    pub(super) unbind: Func,
    pub(super) purge_expired: Func,
    pub(super) active_count: Func,
    pub(super) list: Func,
}

impl Exports {
    pub(super) fn find(instance: &Instance, store: &mut Store<RemoteState>) -> Result<Self> {
        let mut find = |interface: &str, name: &str| {
            let interface = format!("remora:egress/{interface}@0.1.0");
            let missing = || format!("no export {interface}#{name}");
            let outer = instance
                .get_export_index(&mut *store, None, &interface)
                .with_context(missing)?;
            let inner = instance
                .get_export_index(&mut *store, Some(&outer), name)
                .with_context(missing)?;
            let func = instance.get_func(&mut *store, inner);
            func.with_context(missing)
        };
        Ok(Self {
            acquire: find("egress", "acquire")?,
            session_key: find("egress", "session-key")?,
            release: find("egress", "release")?,
            configure: find("control", "configure")?,
            add_proxies: find("control", "add-proxies")?,
            remove_proxy: find("control", "remove-proxy")?,
            set_health: find("control", "set-health")?,
            stats: find("control", "stats")?,
            proxies: find("control", "proxies")?,
            unbind: find("sessions", "unbind")?,
            purge_expired: find("sessions", "purge-expired")?,
            active_count: find("sessions", "active-count")?,
            list: find("sessions", "list")?,
        })
    }
}
