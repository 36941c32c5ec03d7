//! Where clients connect: a forward proxy for plain HTTP and CONNECT.

use serde_json::{Value, json};

use super::bootstrap::{seconds, watched};
use super::{NAME, Place, Plan, filter};
use crate::attempt::Retry;
use crate::config::BuildError;

pub(super) fn listener(plan: &Plan<'_>, place: &Place) -> Result<Value, BuildError> {
    let (listen, _) = plan.file.envoy_addresses()?;
    Ok(json!({
        "name": "clients",
        "address": {"socket_address": {
            "address": listen.ip().to_string(),
            "port_value": listen.port(),
        }},
        "filter_chains": [{"filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": manager(plan, place),
        }]}],
    }))
}

fn manager(plan: &Plan<'_>, place: &Place) -> Value {
    let (timeouts, limits) = (plan.file.timeouts, plan.file.limits);
    json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "clients",
        "codec_type": "HTTP1",
        "http_protocol_options": {"allow_absolute_url": true},
        "upgrade_configs": [{"upgrade_type": "CONNECT"}],
        // Every client is a stranger: Envoy drops what it would otherwise take orders by (`x-envoy-…`), and
        // tells nobody who it was.
        "use_remote_address": true,
        "skip_xff_append": true,
        "internal_address_config": {"unix_sockets": false},
        "generate_request_id": false,
        "server_header_transformation": "PASS_THROUGH",
        "stream_idle_timeout": seconds(timeouts.idle),
        "request_headers_timeout": seconds(timeouts.client),
        "max_request_headers_kb": limits.max_header_bytes.div_ceil(1_024),
        "http_filters": [
            remora(plan, place),
            {
                "name": "envoy.filters.http.router",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
                    "suppress_envoy_headers": true,
                },
            },
        ],
        "route_config": {
            "name": "all",
            "virtual_hosts": [{
                "name": "all",
                "domains": ["*"],
                "routes": [
                    route(plan, &json!({"connect_matcher": {}}), true),
                    route(plan, &json!({"prefix": "/"}), false),
                ],
            }],
        },
    })
}

fn remora(plan: &Plan<'_>, place: &Place) -> Value {
    match place {
        Place::Inline(_) => json!({"name": NAME, "typed_config": filter::filter(plan, place)}),
        Place::Dir(dir) => json!({
            "name": NAME,
            "config_discovery": {
                "config_source": watched(&dir.join("filter.yaml")),
                "type_urls": [filter::TYPE],
            },
        }),
    }
}

fn route(plan: &Plan<'_>, what: &Value, tunnel: bool) -> Value {
    let attempts = plan
        .file
        .retry
        .attempts
        .unwrap_or(Retry::default().attempts);
    let mut route = json!({
        "cluster": NAME,
        // A response may take as long as it comes.
        "timeout": "0s",
        "retry_policy": {
            "retry_on": "connect-failure,reset-before-request",
            "num_retries": attempts,
            // Envoy counts it until the head of the response.
            "per_try_timeout": seconds(plan.file.timeouts.head),
        },
    });
    if tunnel {
        route["upgrade_configs"] = json!([{"upgrade_type": "CONNECT"}]);
    }
    json!({"match": what, "route": route})
}
