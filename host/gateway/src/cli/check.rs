//! `remora check`

use std::path::Path;

use serde::Serialize;

use crate::admin::answers::Proxy;
use crate::config::{self, Addresses, ConfigError, File, Passwords};
use crate::gateway::Gateway;
use crate::stdout::{Failure, say, table};
use crate::tenants::{self, Tenants};

/// `remora check --json`
#[derive(Serialize)]
struct Checked<'a> {
    file: String,
    meaning: serde_json::Map<String, serde_json::Value>,
    proxies: Vec<Proxy>,
    tenants: Vec<String>,
    notes: Vec<&'a str>,
}

/// Makes all that the file says but for its tenants, without touching what it names: nothing listens, nothing is
/// written, and the storage need not be there. Answers with the pool at the top, if there is one.
pub(super) async fn dry(path: &Path, file: &File) -> Result<(Addresses, Option<Gateway>), Failure> {
    let wrong = |error| ConfigError::Build {
        path: path.display().to_string(),
        error,
    };
    let addresses = file.addresses().map_err(wrong)?;
    Ok((addresses, decisions(path, file).await?))
}

/// As [`dry`], but for the addresses: who listens on others does not care for the gateway's.
pub(super) async fn decisions(path: &Path, file: &File) -> Result<Option<Gateway>, Failure> {
    let wrong = |error| ConfigError::Build {
        path: path.display().to_string(),
        error,
    };
    file.limits().map_err(wrong)?;
    file.admin().map_err(wrong)?;
    file.log_filter().map_err(wrong)?;
    file.timeouts().map_err(wrong)?;
    file.check_tenants().map_err(wrong)?;
    file.own_tenants().map_err(wrong)?;
    file.session_header().map_err(wrong)?;
    config::secrets(&file.user, Passwords::Any).map_err(wrong)?;
    file.check_places().map_err(wrong)?;
    let mut dry = file.clone();
    dry.check_storage().map_err(wrong)?;
    dry.record = None;
    if !dry.has_own_pool() {
        return Ok(None);
    }
    Ok(Some(dry.build().await.map_err(wrong)?))
}

/// Makes the tenants, too, beside the pool at the top. Answers with their names, or with all that is wrong with them.
async fn dry_tenants(
    path: &Path,
    file: &File,
    pool: Option<Gateway>,
) -> Result<Vec<String>, Failure> {
    if !file.has_tenants() {
        return Ok(Vec::new());
    }
    let wrong = |error| ConfigError::Build {
        path: path.display().to_string(),
        error,
    };
    let tenants = Tenants::trial(file, pool).map_err(wrong)?;
    let (wanted, _) = tenants::first(file).map_err(wrong)?;
    tenants.become_these(wanted).await;
    tenants.made().await;
    let directory = tenants.directory();
    if directory.troubles().is_empty() {
        return Ok(directory.tenants().keys().cloned().collect());
    }
    let lines = directory.troubles().iter();
    let lines = lines.map(|(name, trouble)| format!("tenant `{name}`: {trouble}"));
    let lines: Vec<String> = lines.collect();
    Err(format!("{}: {}", path.display(), lines.join("; ")).into())
}

pub(super) async fn check(path: &Path, as_json: bool) -> Result<(), Failure> {
    let file = config::read(path)?;
    let (addresses, gateway) = dry(path, &file).await?;
    let has_pool = gateway.is_some();
    let proxies = match &gateway {
        Some(gateway) => gateway.manager().proxies().await?,
        None => Vec::new(),
    };
    let proxies: Vec<Proxy> = proxies.into_iter().map(Into::into).collect();
    let tenants = dry_tenants(path, &file, gateway).await?;
    let meaning = file.explain(&addresses, tenants.len());
    if as_json {
        let meaning = meaning.into_iter().map(|(what, how)| (what, how.into()));
        let checked = Checked {
            file: path.display().to_string(),
            meaning: meaning.collect(),
            proxies,
            tenants,
            notes: file.caveats(),
        };
        return Ok(say(serde_json::to_string(&checked)?)?);
    }
    let mut rows = table(["what", "how"]);
    for (what, how) in meaning {
        rows.add_row([what, how]);
    }
    let mut pool = table(["proxy", "weight", "tags", "id"]);
    for proxy in proxies {
        let tags = proxy.tags.join(", ");
        pool.add_row([
            proxy.url,
            proxy.weight.to_string(),
            tags,
            proxy.id.to_string(),
        ]);
    }
    say(format_args!("{}: good\n{rows}", path.display()))?;
    if has_pool {
        say(pool)?;
    }
    for caveat in file.caveats() {
        say(format_args!("Note: {caveat}."))?;
    }
    Ok(())
}
