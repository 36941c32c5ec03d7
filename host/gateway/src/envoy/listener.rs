//! Where clients connect: a forward proxy for plain HTTP and CONNECT.

use remora_http::{ErrorResponse, Fault};
use serde_json::{Value, json};

use super::bootstrap::{seconds, watched};
use super::plan::{NAME, Place, Plan};
use super::{filter, routes};
use crate::config::BuildError;

pub(super) fn listener(plan: &Plan<'_>, place: &Place) -> Result<Value, BuildError> {
    let listen = plan.config.addresses.listen;
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
    let (timeouts, limits) = (plan.config.timeouts, plan.config.limits);
    json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "clients",
        "codec_type": "HTTP1",
        "http_protocol_options": {"allow_absolute_url": true, "accept_http_10": true},
        "upgrade_configs": [{"upgrade_type": "CONNECT"}],
        // Every client is a stranger: Envoy drops what it would otherwise take orders by (`x-envoy-…`), and
        // tells nobody who it was.
        "use_remote_address": true,
        "skip_xff_append": true,
        "internal_address_config": {"unix_sockets": false},
        "generate_request_id": false,
        "server_header_transformation": "PASS_THROUGH",
        "stream_idle_timeout": seconds(timeouts.idle),
        "request_headers_timeout": seconds(limits.client),
        "max_request_headers_kb": limits.max_header_bytes.div_ceil(1_024),
        "http_filters": [
            credentials(),
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
            // Overrides are by host alone.
            "ignore_port_in_host_matching": true,
            "virtual_hosts": routes::hosts(plan),
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

/// A 407 of an upstream proxy is meant for remora. A client that got it would ask its user for the operator's password.
fn credentials() -> Value {
    let refused = ErrorResponse::from(Fault::Credentials);
    let kind = |name: &str| format!("type.googleapis.com/envoy.{name}");
    let instead = json!({
        "@type": kind("extensions.http.custom_response.local_response_policy.v3.LocalResponsePolicy"),
        "status_code": refused.status,
        "body": {"inline_string": refused.body()},
        // For the filter: it begins as other faults of upstream proxies do.
        "response_code_details": "upstream_refuses_credentials",
        "response_headers_to_add": [{"header": {
            "key": "proxy-status",
            "value": refused.proxy_status(),
        }}],
    });
    json!({
        "name": "envoy.filters.http.custom_response",
        "typed_config": {
            "@type": kind("extensions.filters.http.custom_response.v3.CustomResponse"),
            "custom_response_matcher": {"matcher_list": {"matchers": [{
                "predicate": {"single_predicate": {
                    "input": {
                        "name": "status",
                        "typed_config": {"@type": kind("type.matcher.v3.HttpResponseStatusCodeMatchInput")},
                    },
                    "value_match": {"exact": "407"},
                }},
                "on_match": {"action": {"name": "instead", "typed_config": instead}},
            }]}},
        },
    })
}
