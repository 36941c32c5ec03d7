//! How long an answer may take, and what is sent again through the next proxy: `[retry]`, as far as Envoy can.

use remora_host::Outcome;
use remora_http::{AttemptEnd, IDEMPOTENT, ResponseSource};
use serde_json::{Value, json};

use super::bootstrap::seconds;
use super::plan::{NAME, Plan};

/// A host of its own for each override: there statuses mean something else. Envoy finds the most specific one, too.
pub(super) fn hosts(plan: &Plan<'_>) -> Vec<Value> {
    let overrides = plan.config.file.outcome.overrides.iter().map(|over| {
        let pattern = over.pattern.to_ascii_lowercase();
        host(plan, &pattern, &pattern.replacen('*', "any-host", 1))
    });
    overrides.chain([host(plan, "*", "")]).collect()
}

/// The routes to the hosts that match `pattern`; `example` is one of them.
fn host(plan: &Plan<'_>, pattern: &str, example: &str) -> Value {
    // An attempt without an answer is compared with another exit (rule 13).
    let calls_for_another = |end: AttemptEnd| {
        let outcome = end.outcome(&plan.statuses, example);
        outcome.is_ambiguous() || outcome == Outcome::Failure
    };
    let failed = |status: &u16| {
        calls_for_another(AttemptEnd::Response(*status, ResponseSource::ProxyOrTarget))
    };
    let refused = |status: &u16| calls_for_another(AttemptEnd::ConnectRefused(*status));
    let failures: Vec<u16> = (200..600).filter(failed).collect();
    let refusals: Vec<u16> = (300..600).filter(refused).collect();
    let timeouts = plan.config.timeouts;
    let mut tunnels = route(plan, &refusals);
    // Envoy has no limit for the answer to CONNECT: that one is the filter's.
    tunnels["upgrade_configs"] = json!([{"upgrade_type": "CONNECT"}]);
    let mut twice = route(plan, &failures);
    let mut once = route(plan, &[]);
    for route in [&mut twice, &mut once] {
        // Envoy counts it from the end of the request until the head of the response.
        route["retry_policy"]["per_try_timeout"] = seconds(timeouts.head).into();
    }
    let regex = IDEMPOTENT.join("|");
    let methods = json!({"name": ":method", "string_match": {"safe_regex": {"regex": regex}}});
    json!({
        "name": pattern,
        "domains": [pattern],
        "routes": [
            {"match": {"connect_matcher": {}}, "route": tunnels},
            {"match": {"prefix": "/", "headers": [methods]}, "route": twice},
            {"match": {"prefix": "/"}, "route": once},
        ],
    })
}

/// `again`: the statuses after which the next proxy is asked; none where what has been sent must not be sent again.
fn route(plan: &Plan<'_>, again: &[u16]) -> Value {
    let mut retry = json!({
        "retry_on": "connect-failure,reset-before-request",
        "num_retries": plan.attempts,
    });
    if !again.is_empty() {
        retry["retry_on"] = "connect-failure,reset,retriable-status-codes".into();
        retry["retriable_status_codes"] = again.into();
    }
    json!({
        "cluster": NAME,
        // A response may take as long as it comes.
        "timeout": "0s",
        "retry_policy": retry,
    })
}
