//! All of it in one document.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::plan::{NAME, Place, Plan};
use super::{cluster, listener};
use crate::config::BuildError;

pub(super) fn bootstrap(plan: &Plan<'_>, place: &Place) -> Result<Value, BuildError> {
    let admin = plan.config.addresses.admin;
    let mut bootstrap = json!({
        "node": {"id": NAME, "cluster": NAME},
        "stats_config": {"stats_tags": tags()},
        "static_resources": {
            "listeners": [listener::listener(plan, place)?],
            "clusters": [cluster::cluster(plan, place)],
        },
    });
    if let Some(admin) = admin {
        bootstrap["admin"] = json!({
            "address": {"socket_address": {
                "address": admin.ip().to_string(),
                "port_value": admin.port(),
            }},
            "allow_paths": allowed(),
        });
    }
    Ok(bootstrap)
}

/// What the admin interface answers. It asks nobody who they are, `/config_dump` has the passwords in it, and
/// `/logging` could have them written to the log.
fn allowed() -> Vec<Value> {
    let below = [
        "/stats",
        "/clusters",
        "/listeners",
        "/drain_listeners",
        "/healthcheck/",
    ];
    let only = ["/ready", "/memory", "/certs", "/hot_restart_version"];
    let below = below.map(|path| json!({"prefix": path}));
    let only = only.map(|path| json!({"exact": path}));
    below.into_iter().chain(only).collect()
}

/// A metric of the filter is called `remora_acquires_total.result=hit`: the part behind the dot is its label.
fn tags() -> Vec<Value> {
    let tag = |name: &str| json!({"tag_name": name, "regex": format!(r"^wasmcustom\.remora_.+?(\.{name}=(.+))$")});
    ["result", "outcome", "change"].map(tag).into()
}

/// A file that Envoy watches.
pub(super) fn watched(path: &Path) -> Value {
    json!({
        "resource_api_version": "V3",
        "path_config_source": {"path": path},
    })
}

/// A length of time as Envoy reads it.
pub(super) fn seconds(time: Duration) -> String {
    let micros = time.as_micros();
    format!("{}.{:06}s", micros / 1_000_000, micros % 1_000_000)
}
