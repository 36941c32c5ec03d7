//! The cluster that the pool is: one endpoint a proxy, and the credentials that only it knows.

use serde_json::{Value, json};

use super::plan::{NAME, Place, Plan, STEERING};
use super::pool::Upstream;
use super::sockets;

/// What belongs to the way from the client to Envoy, or between its filters, and must not go on.
const STRIPPED: [&str; 8] = [
    STEERING,
    "proxy-authorization",
    "proxy-connection",
    "x-forwarded-proto",
    "x-forwarded-for",
    "x-request-id",
    "x-envoy-internal",
    "x-envoy-external-address",
];

pub(super) fn cluster(plan: &Plan<'_>, place: &Place) -> Value {
    let most = plan.config.limits.max_connections;
    let mut cluster = json!({
        "name": NAME,
        "connect_timeout": super::bootstrap::seconds(plan.config.timeouts.connect),
        "load_balancing_policy": {"policies": [steering()]},
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        // The breakers are the filter's. These only guard Envoy itself.
        "circuit_breakers": {"thresholds": [{
            "max_connections": most,
            "max_pending_requests": most,
            "max_requests": most,
            "max_retries": most,
        }]},
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": protocol(),
        },
        "transport_socket": sockets::default(plan),
        "transport_socket_matches": sockets::matches(plan),
    });
    match place {
        Place::Inline(_) => {
            cluster["type"] = "STATIC".into();
            cluster["load_assignment"] = assignment(&plan.pool);
        }
        Place::Dir(dir) => {
            cluster["type"] = "EDS".into();
            cluster["eds_cluster_config"] = json!({
                "eds_config": super::bootstrap::watched(&dir.join("endpoints.yaml")),
            });
        }
    }
    cluster
}

/// The address that the filter names, or none: what the filter did not name gets no request.
fn steering() -> Value {
    let kind =
        |name: &str| format!("type.googleapis.com/envoy.extensions.load_balancing_policies.{name}");
    let nowhere = json!({"typed_extension_config": {
        "name": "envoy.load_balancing_policies.subset",
        "typed_config": {
            "@type": kind("subset.v3.Subset"),
            "fallback_policy": "NO_FALLBACK",
            "subset_selectors": [{"keys": ["nowhere"]}],
            "subset_lb_policy": {"policies": [{"typed_extension_config": {
                "name": "envoy.load_balancing_policies.round_robin",
                "typed_config": {"@type": kind("round_robin.v3.RoundRobin")},
            }}]},
        },
    }});
    json!({"typed_extension_config": {
        "name": "envoy.load_balancing_policies.override_host",
        "typed_config": {
            "@type": kind("override_host.v3.OverrideHost"),
            "override_host_sources": [{"header": STEERING}],
            "fallback_policy": {"policies": [nowhere]},
        },
    }})
}

fn protocol() -> Value {
    let removals = STRIPPED.map(|name| json!({"remove": name}));
    let authorization = json!({"append": {
        "header": {
            "key": "proxy-authorization",
            "value": "%UPSTREAM_METADATA(remora:authorization)%",
        },
        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
    }});
    let mutations: Vec<Value> = removals.into_iter().chain([authorization]).collect();
    json!({
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http_protocol_options": {"send_fully_qualified_url": true}},
        // Proxies that close after each response without saying so are common. Envoy would now and then send a
        // request on such a connection, and take its end for the proxy's failure: the session would move.
        "common_http_protocol_options": {"max_requests_per_connection": 1},
        // Upstream: after the pick, and once for each try.
        "http_filters": [
            {
                "name": "envoy.filters.http.header_mutation",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
                    "mutations": {"request_mutations": mutations},
                },
            },
            {
                "name": "envoy.filters.http.upstream_codec",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec",
                },
            },
        ],
    })
}

/// The endpoints. The credentials are here and nowhere else.
pub(super) fn assignment(pool: &[Upstream]) -> Value {
    let endpoints: Vec<Value> = pool.iter().map(endpoint).collect();
    json!({
        "cluster_name": NAME,
        "endpoints": [{"lb_endpoints": endpoints}],
    })
}

fn endpoint(proxy: &Upstream) -> Value {
    let mut metadata = json!({});
    if let Some(authorization) = &proxy.authorization {
        metadata["remora"] = json!({"authorization": authorization});
    }
    metadata["envoy.transport_socket_match"] = sockets::label(proxy);
    json!({
        "endpoint": {
            "hostname": proxy.host,
            "address": {"socket_address": {
                "address": proxy.address.ip().to_string(),
                "port_value": proxy.address.port(),
            }},
        },
        "metadata": {"filter_metadata": metadata},
    })
}
