//! What there is to see of all tenants, and which of them a path is about.

use std::sync::Arc;

use hyper::StatusCode;
use percent_encoding::percent_decode_str;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::answers::{Health, TenantCounts, TenantRow};
use super::{Answer, Refused, healthz, internal, json, openmetrics};
use crate::metrics;
use crate::tenants::{PATIENCE, Tenant, Tenants};

/// `/tenants/NAME/REST` as the name and `/REST`; any other path as it is.
pub(super) fn split(path: &str) -> (Option<&str>, &str) {
    let rest = path.strip_prefix("/tenants/");
    match rest.and_then(|rest| rest.split_once('/')) {
        // The slash before the rest is a part of it.
        Some((name, rest)) => (Some(name), &path[path.len() - rest.len() - 1..]),
        None => (None, path),
    }
}

/// The pool of a tenant, or the one at the top.
pub(super) fn pick(tenants: &Tenants, name: Option<&str>) -> Result<Arc<Tenant>, Refused> {
    let directory = tenants.directory();
    let (tenant, line) = match name {
        Some(name) => {
            // Programs differ in what they encode: `my%2Dshop` is `my-shop`.
            let name = percent_decode_str(name).decode_utf8_lossy();
            let tenant = directory.tenants().get(&*name);
            (tenant, "no tenant has this name")
        }
        None => (
            directory.top(),
            "there are tenants only: /tenants lists them, /tenants/NAME/… is about one",
        ),
    };
    let not_found = || Refused::Status(StatusCode::NOT_FOUND, line.to_owned());
    tenant.cloned().ok_or_else(not_found)
}

/// Every tenant, by name.
pub(super) async fn list(tenants: &Tenants) -> Answer {
    let directory = tenants.directory();
    let all: Vec<Arc<Tenant>> = directory.tenants().values().cloned().collect();
    let counts = tenants.stats(&all).await;
    let mut rows: Vec<TenantRow> = directory
        .tenants()
        .iter()
        .zip(counts)
        .map(|((name, tenant), counts)| TenantRow {
            name: name.clone(),
            counts: counts.map(|counts| TenantCounts {
                proxies: counts.total,
                healthy: counts.healthy,
                sessions: counts.active_sessions,
            }),
            in_flight: tenant.in_flight().unwrap_or_default(),
            plugin: tenant.plugin().map(|path| path.display().to_string()),
            plugin_traps: tenant.gateway().manager().plugin_traps(),
            error: directory.troubles().get(name).cloned(),
        })
        .collect();
    // Tenants that there would be.
    let absent = directory.troubles().iter();
    let absent = absent.filter(|(name, _)| !directory.tenants().contains_key(*name));
    rows.extend(absent.map(|(name, trouble)| TenantRow::absent(name, trouble)));
    let awaited = directory.awaited();
    rows.extend(awaited.map(|name| TenantRow::absent(name, "it is being made")));
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    json(&rows)
}

/// Whether anybody can be served, and how many cannot be as their file says.
pub(super) async fn health(tenants: &Tenants) -> Answer {
    let directory = tenants.directory();
    if !tenants.are_many()
        && let Some(top) = directory.top()
    {
        return healthz(top.gateway()).await;
    }
    // All at once: those that take their time keep nobody waiting.
    let mut asked = JoinSet::new();
    for tenant in directory.all() {
        let tenant = tenant.clone();
        asked.spawn(async move { tenant.gateway().manager().is_available().await });
    }
    let found = async {
        while let Some(answer) = asked.join_next().await {
            if let Ok(Ok(true)) = answer {
                return true;
            }
        }
        false
    };
    let healthy = timeout(PATIENCE, found).await.unwrap_or(false);
    let status = match healthy {
        true => "ok",
        false => "no proxy of any tenant is available",
    };
    let mut response = json(&Health {
        status: status.to_owned(),
        storage: None,
        tenants: Some(directory.tenants().len()),
        refused_tenants: Some(directory.troubles().len()),
        awaited_tenants: Some(directory.awaited().count()),
    })?;
    if !healthy {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    Ok(response)
}

/// The counters of all.
pub(super) async fn counters(tenants: &Tenants) -> Answer {
    let directory = tenants.directory();
    let all: Vec<Arc<Tenant>> = directory.all().cloned().collect();
    // Counters are wanted most while the storage is gone.
    let stats = tenants.stats(&all).await;
    let pools = all.iter().zip(stats).map(|(tenant, stats)| metrics::Pool {
        tenant: tenant.gateway().tenant().cloned(),
        metrics: tenant.gateway().metrics().clone(),
        stats,
        store: tenant.gateway().store().state(),
        in_flight: tenant.in_flight(),
    });
    let text = metrics::text(pools.collect(), tenants.router().traffic());
    Ok(openmetrics(text.map_err(|_| internal())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_says_which_tenant_it_is_about() {
        for (path, name, rest) in [
            ("/stats", None, "/stats"),
            ("/tenants", None, "/tenants"),
            ("/tenants/a", None, "/tenants/a"),
            ("/tenants/a/stats", Some("a"), "/stats"),
            ("/tenants/a/sessions/k/x", Some("a"), "/sessions/k/x"),
            ("/tenants//stats", Some(""), "/stats"),
        ] {
            assert_eq!(split(path), (name, rest), "{path}");
        }
    }
}
