//! The filter and its own configuration: the fields of `remora.toml` that mean something there, under their names.
//! No secret among them.

use std::hash::{DefaultHasher, Hasher as _};

use remora_config::Secret;
use remora_config::filter::{Client, Filter, Proxy, Retry, Timeouts};
use serde_json::{Value, json};

use super::plan::{NAME, Place, Plan};
use super::pool::Upstream;

/// The type of the filter.
pub(super) const TYPE: &str = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm";

/// The filter, as Envoy wants it.
pub(super) fn filter(plan: &Plan<'_>, place: &Place) -> Value {
    json!({
        "@type": TYPE,
        "config": {
            "name": NAME,
            "root_id": NAME,
            "vm_config": {
                // What workers share, they share by this name.
                "vm_id": NAME,
                "runtime": "envoy.wasm.runtime.v8",
                "code": {"local": {"filename": place.wasm()}},
                // Envoy reads the file again only where something here is new.
                "configuration": {
                    "@type": "type.googleapis.com/google.protobuf.StringValue",
                    "value": mark(plan.module()),
                },
            },
            "configuration": {
                "@type": "type.googleapis.com/google.protobuf.StringValue",
                // There is nothing in it that JSON cannot hold; the filter refuses an empty text.
                "value": configuration(plan).unwrap_or_default(),
            },
            // A trap costs the requests that are on their way in this worker; the next one gets a new VM.
            "failure_policy": "FAIL_RELOAD",
            "reload_config": {"backoff": {"base_interval": "0.1s", "max_interval": "1s"}},
        },
    })
}

/// What tells one module from another.
fn mark(module: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    hasher.write(module);
    format!("module {:016x}", hasher.finish())
}

/// As JSON: Envoy hands the filter a text.
fn configuration(plan: &Plan<'_>) -> Result<String, serde_json::Error> {
    let file = &plan.config.file;
    let filter = Filter {
        sticky: file.sticky.clone(),
        rotation: file.rotation,
        breaker: file.breaker,
        outcome: file.outcome.clone(),
        retry: Retry {
            attempts: file.retry.attempts,
        },
        timeouts: Timeouts {
            connect: Some(file.timeouts.connect),
        },
        client: Client {
            session_header: file.client.session_header.clone(),
        },
        proxy: plan.pool.iter().map(proxy).collect(),
    };
    serde_json::to_string_pretty(&filter)
}

fn proxy(upstream: &Upstream) -> Proxy {
    Proxy {
        url: Secret(upstream.url.clone()),
        address: Some(upstream.address),
        id: upstream.id,
        weight: upstream.weight,
    }
}
