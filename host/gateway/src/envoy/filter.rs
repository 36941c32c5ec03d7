//! The filter and its own configuration: the fields of `remora.toml` that mean something there, under their names.
//! No secret among them.

use std::hash::{DefaultHasher, Hasher as _};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::plan::{NAME, Place, Plan};
use crate::config::{File, OutcomeOverride, Override};
use remora_host::Mode;

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
                "value": configuration(plan),
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
fn configuration(plan: &Plan<'_>) -> String {
    let file = plan.file;
    let proxies: Vec<Value> = plan
        .pool
        .iter()
        .map(|proxy| {
            json!({
                "url": proxy.url,
                "address": proxy.address.to_string(),
                "id": proxy.id.to_string(),
                "weight": proxy.weight,
            })
        })
        .collect();
    let mut tables = tables(file);
    tables.insert("proxy".into(), proxies.into());
    format!("{:#}", Value::from(tables))
}

fn tables(file: &File) -> Map<String, Value> {
    let (sticky, breaker, outcome) = (&file.sticky, &file.breaker, &file.outcome);
    let all = [
        (
            "sticky",
            Fields::default()
                .set("mode", mode(sticky.mode()))
                .time("ttl", sticky.ttl)
                .set("scope", sticky.scope)
                .time("idle", sticky.idle)
                .some("max_requests", sticky.max_requests)
                .set("on_bad", sticky.on_bad)
                .some("max_sessions", sticky.max_sessions)
                .time("avoid_blocked_for", sticky.avoid_blocked_for)
                .list("override", sticky.overrides.iter().map(sticky_override)),
        ),
        (
            "rotation",
            Fields::default()
                .set("strategy", file.rotation.strategy)
                .time("lease_timeout", file.rotation.lease_timeout),
        ),
        (
            "breaker",
            Fields::default()
                .some("open_threshold", breaker.open_threshold)
                .time("half_open_after", breaker.half_open_after)
                .some("growth", breaker.growth)
                .time("max_half_open_after", breaker.max_half_open_after),
        ),
        (
            "outcome",
            Fields::default()
                .some("failure_statuses", outcome.failure_statuses.as_ref())
                .some("blocked_statuses", outcome.blocked_statuses.as_ref())
                .list("override", outcome.overrides.iter().map(outcome_override)),
        ),
        (
            "retry",
            Fields::default().some("attempts", file.retry.attempts),
        ),
        (
            "timeouts",
            Fields::default().time("connect", Some(file.timeouts.connect)),
        ),
        (
            "client",
            Fields::default().some("session_header", file.client.session_header.as_ref()),
        ),
    ];
    let filled = all.into_iter().filter(|(_, fields)| !fields.0.is_empty());
    filled
        .map(|(name, fields)| (name.to_owned(), fields.0.into()))
        .collect()
}

fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Disabled => "disabled",
        Mode::Domain => "domain",
    }
}

fn sticky_override(over: &Override) -> Fields {
    Fields::default()
        .set("match", &over.pattern)
        .some("mode", over.mode.map(mode))
        .time("ttl", over.ttl)
        .time("idle", over.idle)
        .some("max_requests", over.max_requests)
        .some("on_bad", over.on_bad)
}

fn outcome_override(over: &OutcomeOverride) -> Fields {
    Fields::default()
        .set("match", &over.pattern)
        .some("failure_statuses", over.failure_statuses.as_ref())
        .some("blocked_statuses", over.blocked_statuses.as_ref())
}

/// A table: what the file leaves out is left out here, too.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn set(mut self, name: &str, value: impl Serialize) -> Self {
        // Numbers, words and lists of them: nothing that JSON cannot hold.
        if let Ok(value) = serde_json::to_value(value) {
            self.0.insert(name.into(), value);
        }
        self
    }

    fn some(self, name: &str, value: Option<impl Serialize>) -> Self {
        match value {
            Some(value) => self.set(name, value),
            None => self,
        }
    }

    fn time(self, name: &str, time: Option<Duration>) -> Self {
        self.some(
            name,
            time.map(|t| humantime::format_duration(t).to_string()),
        )
    }

    fn list(self, name: &str, fields: impl Iterator<Item = Self>) -> Self {
        let list: Vec<Value> = fields.map(|fields| fields.0.into()).collect();
        if list.is_empty() {
            return self;
        }
        self.set(name, list)
    }
}
