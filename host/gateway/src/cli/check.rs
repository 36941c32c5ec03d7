//! `remora check`

use std::path::Path;

use serde::Serialize;

use crate::admin::answers::Proxy;
use crate::build;
use crate::config::{self, BuildError, Config, ConfigError, Problem, Shell};
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

/// Makes the pool at the top, if there is one, without touching the files and servers that it names: nothing listens, nothing is written,
/// and the storage need not be there.
pub(super) async fn dry(path: &Path, config: &Config) -> Result<Option<Gateway>, ConfigError> {
    let made = build::dry_gateway(config).await;
    made.map_err(|error| of(path, error))
}

/// The error for a thing that cannot be made as the file at `path` describes it.
pub(super) fn of(path: &Path, error: BuildError) -> ConfigError {
    let path = path.display().to_string();
    ConfigError::Build { path, error }
}

/// Makes the tenants, too, beside the pool at the top. Answers with their names, or with all that is wrong with them.
async fn dry_tenants(
    path: &Path,
    config: &Config,
    pool: Option<Gateway>,
) -> Result<Vec<String>, ConfigError> {
    if !config.file.has_tenants() {
        return Ok(Vec::new());
    }
    let tenants = Tenants::trial(config, pool).map_err(|error| of(path, error))?;
    let (wanted, _) = tenants::first(config).map_err(|error| of(path, error))?;
    tenants.become_these(wanted).await;
    tenants.made().await;
    let directory = tenants.directory();
    if directory.troubles().is_empty() {
        return Ok(directory.tenants().keys().cloned().collect());
    }
    let problems = directory.troubles().iter();
    let problems = problems
        .map(|(name, trouble)| Problem::without_line(format!("tenant `{name}`: {trouble}")));
    Err(ConfigError::Invalid {
        path: path.display().to_string(),
        problems: problems.collect(),
    })
}

pub(super) async fn check(path: &Path, as_json: bool) -> Result<(), Failure> {
    let config = config::load(path)?.validate_with_paths(Shell::Gateway)?;
    let gateway = dry(path, &config).await?;
    let has_pool = gateway.is_some();
    let proxies = match &gateway {
        Some(gateway) => gateway.manager().proxies().await?,
        None => Vec::new(),
    };
    let proxies: Vec<Proxy> = proxies.into_iter().map(Into::into).collect();
    let tenants = dry_tenants(path, &config, gateway).await?;
    let meaning = config.file.explain(&config.addresses, tenants.len());
    if as_json {
        let meaning = meaning.into_iter().map(|(what, how)| (what, how.into()));
        let checked = Checked {
            file: path.display().to_string(),
            meaning: meaning.collect(),
            proxies,
            tenants,
            notes: config.file.caveats(),
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
    for caveat in config.file.caveats() {
        say(format_args!("Note: {caveat}."))?;
    }
    Ok(())
}
