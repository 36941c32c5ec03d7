//! How proxies are spoken to: in the clear or over TLS. An endpoint's label says which.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::{Value, json};

use super::plan::Plan;
use super::pool::Upstream;

/// The label of an endpoint. One that a running Envoy has no match for is spoken to with [`default`].
pub(super) fn label(proxy: &Upstream) -> Value {
    match (proxy.tls, proxy.host.parse::<IpAddr>()) {
        (false, _) => json!({"clear": true}),
        (true, Ok(ip)) => json!({"tls": ip.to_string()}),
        (true, Err(_)) => json!({"tls": "name"}),
    }
}

/// For what has no match: TLS. An endpoint that a running Envoy does not know how to check fails, and is never
/// sent a password in the clear.
pub(super) fn default(plan: &Plan<'_>) -> Value {
    by_name(plan).unwrap_or_else(clear)
}

/// The others: in the clear, and TLS to an address, for which Envoy has to be told which one.
pub(super) fn matches(plan: &Plan<'_>) -> Vec<Value> {
    let over_tls = plan.pool.iter().filter(|proxy| proxy.tls);
    let addresses: BTreeSet<IpAddr> = over_tls.filter_map(|p| p.host.parse().ok()).collect();
    let mut matches = vec![json!({
        "name": "clear",
        "match": {"clear": true},
        "transport_socket": clear(),
    })];
    for ip in addresses {
        let ip = ip.to_string();
        if let Some(socket) = by_address(plan, &ip) {
            matches.push(json!({
                "name": ip,
                "match": {"tls": ip},
                "transport_socket": socket,
            }));
        }
    }
    matches
}

fn clear() -> Value {
    json!({
        "name": "envoy.transport_sockets.raw_buffer",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer",
        },
    })
}

/// TLS to a name, the one in the proxy's URL; `None` where nobody is trusted.
fn by_name(plan: &Plan<'_>) -> Option<Value> {
    let mut socket = tls(plan)?;
    let context = &mut socket["typed_config"];
    context["auto_host_sni"] = true.into();
    context["auto_sni_san_validation"] = true.into();
    Some(socket)
}

/// TLS to an address: no name is sent, and the certificate has to be for the address.
fn by_address(plan: &Plan<'_>, ip: &str) -> Option<Value> {
    let mut socket = tls(plan)?;
    let context = &mut socket["typed_config"]["common_tls_context"]["validation_context"];
    context["match_typed_subject_alt_names"] =
        json!([{"san_type": "IP_ADDRESS", "matcher": {"exact": ip}}]);
    Some(socket)
}

fn tls(plan: &Plan<'_>) -> Option<Value> {
    let roots = super::pool::roots(plan.config)?;
    Some(json!({
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "common_tls_context": {"validation_context": {"trusted_ca": {"filename": roots}}},
        },
    }))
}
