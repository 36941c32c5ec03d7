//! Files that a running Envoy watches, replaced one by one.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::plan::{NAME, Place, Plan};
use super::pool::Upstream;
use super::{bootstrap, cluster, filter};
use crate::stdout::Failure;

/// How long Envoy gets to take up a new filter configuration before endpoints go that the old one names.
const TAKES_UP: Duration = Duration::from_secs(2);

pub(super) async fn write(plan: &Plan<'_>, dir: &Path) -> Result<(), Failure> {
    fs::create_dir_all(dir).map_err(|error| cannot(dir, error))?;
    let dir = dir.canonicalize()?;
    let place = Place::Dir(dir.clone());
    replace(&place.wasm(), plan.module())?;
    let endpoints = dir.join("endpoints.yaml");
    // First every endpoint, old and new; then the filter that names the new ones; then the old ones go. So no
    // request is sent to an address that the cluster does not know.
    let old = leaving(&endpoints, &plan.pool);
    let with_old = |old: &[Value]| {
        let mut assignment = cluster::assignment(&plan.pool);
        if let Some(all) = assignment["endpoints"][0]["lb_endpoints"].as_array_mut() {
            all.extend(old.iter().cloned());
        }
        assignment["@type"] =
            "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment".into();
        resources(assignment)
    };
    replace(&endpoints, &yaml(&with_old(&old))?)?;
    let filter = json!({
        "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
        "name": NAME,
        "typed_config": filter::filter(plan, &place),
    });
    replace(&dir.join("filter.yaml"), &yaml(&resources(filter))?)?;
    let whole = bootstrap::bootstrap(plan, &place)?;
    replace(&dir.join("bootstrap.yaml"), &yaml(&whole)?)?;
    if !old.is_empty() {
        tokio::time::sleep(TAKES_UP).await;
        replace(&endpoints, &yaml(&with_old(&[]))?)?;
    }
    Ok(())
}

fn resources(resource: Value) -> Value {
    json!({"resources": [resource]})
}

/// The endpoints of an earlier file that the pool no longer has. A file that cannot be read has none.
fn leaving(path: &Path, pool: &[Upstream]) -> Vec<Value> {
    let read = fs::read(path).ok();
    let old: Option<Value> = read.and_then(|text| serde_yaml_ng::from_slice(&text).ok());
    let old = old
        .as_ref()
        .map(|old| &old["resources"][0]["endpoints"][0]["lb_endpoints"]);
    let mut old: Vec<Value> = old.and_then(Value::as_array).cloned().unwrap_or_default();
    old.retain(|endpoint| {
        let at = &endpoint["endpoint"]["address"]["socket_address"];
        !pool.iter().any(|proxy| {
            at["address"] == proxy.address.ip().to_string().as_str()
                && at["port_value"] == proxy.address.port()
        })
    });
    old
}

pub(super) fn yaml(value: &Value) -> Result<Vec<u8>, Failure> {
    Ok(serde_yaml_ng::to_string(value)?.into_bytes())
}

/// Replaces a file at once. Only its owner may read it: there may be passwords in it.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    if fs::read(path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let written = || -> io::Result<()> {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        // A watch sees the whole file or the one before.
        fs::rename(&beside, path)
    };
    written().map_err(|error| cannot(path, error))
}

fn cannot(path: &Path, error: io::Error) -> Failure {
    format!("cannot write {}: {error}", path.display()).into()
}
