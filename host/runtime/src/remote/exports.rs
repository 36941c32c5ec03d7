//! The plugin's exports, for calls that wait. The generated bindings know only calls that do not.

use wasmtime::component::{Func, Instance};
use wasmtime::{Result, Store, error::Context as _};

use super::imports::RemoteState;

macro_rules! exports {
    ($($name:ident = $interface:literal $function:literal,)*) => {
        /// What is called.
        #[derive(Clone, Copy)]
        pub(super) struct Exports {
            $(pub(super) $name: Func,)*
        }

        impl Exports {
            pub(super) fn find(instance: &Instance, store: &mut Store<RemoteState>) -> Result<Self> {
                Ok(Self {
                    $($name: find(instance, store, $interface, $function)?,)*
                })
            }
        }
    };
}

exports! {
    acquire = "egress" "acquire",
    session_key = "egress" "session-key",
    fallbacks = "egress" "fallbacks",
    settle = "egress" "settle",
    release = "egress" "release",
    holds = "egress" "holds",
    configure = "control" "configure",
    add_proxies = "control" "add-proxies",
    remove_proxy = "control" "remove-proxy",
    set_health = "control" "set-health",
    stats = "control" "stats",
    proxies = "control" "proxies",
    unbind = "sessions" "unbind",
    purge_expired = "sessions" "purge-expired",
    active_count = "sessions" "active-count",
    list = "sessions" "list",
}

fn find(
    instance: &Instance,
    store: &mut Store<RemoteState>,
    interface: &str,
    name: &str,
) -> Result<Func> {
    let interface = format!("remora:egress/{interface}@0.1.0");
    let missing = || format!("no export {interface}#{name}");
    let outer = instance
        .get_export_index(&mut *store, None, &interface)
        .with_context(missing)?;
    let inner = instance
        .get_export_index(&mut *store, Some(&outer), name)
        .with_context(missing)?;
    instance.get_func(&mut *store, inner).with_context(missing)
}
