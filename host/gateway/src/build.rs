//! From a checked configuration to the pool at its top.

use std::io::Read as _;
use std::path::Path;

use remora_host::{Error, Outcome, Plugin, PluginError, ProxyManager, Runtime, Scope};

use crate::config::{BuildError, Config, Pool, Storage};
use crate::gateway::Gateway;
use crate::record::Record;
use crate::storage::Storages;
use crate::upstream::Trust;

/// Makes the pool at the top: the plugin is loaded and configured, nothing is listening yet. The file that `record` names
/// is opened once a [`Server`](crate::server::Server) listens.
///
/// # Errors
///
/// [`BuildError`] is the first thing that cannot be made.
pub async fn gateway(config: &Config) -> Result<Gateway, BuildError> {
    gateway_on(config, None).await
}

/// [`gateway`] on a runtime that others share.
pub(crate) async fn gateway_on(
    config: &Config,
    runtime: Option<&Runtime>,
) -> Result<Gateway, BuildError> {
    let pool = config.pool.as_ref().ok_or(BuildError::NoProxy)?;
    let record = config.file.record.as_deref().map(Record::new);
    assemble(config, pool, config.storage.clone(), record, runtime).await
}

/// [`gateway`], but the storage that the file names is not touched, and nothing is written.
pub(crate) async fn dry_gateway(config: &Config) -> Result<Option<Gateway>, BuildError> {
    match &config.pool {
        Some(pool) => {
            let made = assemble(config, pool, Storage::memory(), None, None);
            made.await.map(Some)
        }
        None => Ok(None),
    }
}

async fn assemble(
    config: &Config,
    pool: &Pool,
    storage: Storage,
    record: Option<Record>,
    runtime: Option<&Runtime>,
) -> Result<Gateway, BuildError> {
    let trust = trust(config)?;
    let mut builder = ProxyManager::builder()
        .config(pool.config.clone())
        .unmarked(Outcome::Cancelled);
    let plugin = match (&config.file.plugin, runtime) {
        (None, None) => None,
        (Some(path), None) => Some(own_plugin(path, Plugin::from_file(path))?),
        (Some(path), Some(runtime)) => Some(own_plugin(path, runtime.load_file(path))?),
        (None, Some(runtime)) if pool.config.scope == Scope::Site => {
            Some(runtime.builtin_with_sites().map_err(Error::from)?)
        }
        (None, Some(runtime)) => Some(runtime.builtin().map_err(Error::from)?),
    };
    if let Some(plugin) = plugin {
        builder = builder.plugin(plugin);
    }
    let storage = Storages::new(storage).open(None)?;
    let mut builder = storage.under(builder, None);
    if let Some(record) = &record {
        builder = builder.record(record.clone());
    }
    let manager = builder.build()?;
    let ids = manager.add_proxies(pool.proxies.clone()).await?;
    let gateway = Gateway::new(manager, pool.settings(config.timeouts), trust).managed_by_file(ids);
    Ok(gateway.with_store(storage.store).with_record(record))
}

/// The certificates that upstream proxies are checked against.
pub(crate) fn trust(config: &Config) -> Result<Trust, BuildError> {
    let Some(path) = config.tls_ca() else {
        return Ok(Trust::default());
    };
    Trust::with_file(path).map_err(|error| BuildError::Path {
        field: "tls.ca",
        path: path.display().to_string(),
        error,
    })
}

/// A plugin from a file; the error names the field and the file.
pub(crate) fn own_plugin(
    path: &Path,
    loaded: Result<Plugin, PluginError>,
) -> Result<Plugin, BuildError> {
    loaded.map_err(|error| BuildError::Plugin {
        path: path.display().to_string(),
        reason: match error {
            PluginError::Read { reason, .. } => reason,
            PluginError::Compile(_) if is_module(path) => {
                "it is a core module, not a component; `wasm-tools component new` makes one of it \
                 (docs/extending.md)"
                    .into()
            }
            other => other.to_string(),
        },
    })
}

/// Whether a file begins as a WebAssembly module does, rather than as a component.
fn is_module(path: &Path) -> bool {
    let mut first = [0; 8];
    let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut first));
    read.is_ok() && first == *b"\0asm\x01\0\0\0"
}
