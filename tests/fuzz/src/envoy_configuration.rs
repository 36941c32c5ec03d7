//! The JSON that Envoy hands to the filter. What is accepted is one JSON value, and an engine that takes it decides.

use remora_core::{Engine, Request};
use remora_host::storage::MemoryProxyStore;

use crate::Target;

pub(crate) const TARGET: Target = Target {
    name: "envoy_configuration",
    run,
    mutations: 100_000,
    words: &[
        "{",
        "}",
        "[",
        "null",
        "\"",
        "0",
        "-1",
        "1e99",
        "18446744073709551615",
        "\"10m\"",
        "true",
    ],
};

fn run(data: &[u8]) {
    let checked = match remora_envoy::config::read(data) {
        Ok(checked) => checked,
        Err(reason) => return assert!(!reason.is_empty()),
    };
    assert!(serde_json::from_slice::<serde::de::IgnoredAny>(data).is_ok());
    assert_ne!(checked.session_header.as_deref(), Some(""));
    assert_eq!(checked.addresses.len(), checked.pool.len());
    let mut engine = Engine::new(MemoryProxyStore::default());
    if engine.configure(checked.core).is_ok() && engine.add_proxies(&checked.pool).is_ok() {
        let request = Request {
            target: "shop.example",
            ..Request::default()
        };
        let now = 1_750_000_000_000;
        let granted = engine.acquire(now, &request).unwrap();
        engine
            .release(
                now + 1,
                &granted.lease.permit,
                &granted.lease.key,
                "a.example",
                remora_core::Outcome::Failure,
            )
            .unwrap();
    }
}
