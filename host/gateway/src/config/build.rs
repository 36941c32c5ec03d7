//! From fields to a gateway.

use std::io::Read as _;
use std::path::Path;

use remora_host::{Error, Outcome, Plugin, PluginError, ProxyManager, Runtime, Scope};
use thiserror::Error;

use super::Addresses;
use super::file::File;
use crate::gateway::Gateway;
use crate::record::Record;
use crate::upstream::Trust;

/// Which value is not accepted.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A field of the gateway itself.
    #[error("`{field}` is `{value}`; accepted: {accepted}")]
    Field {
        /// The field.
        field: String,
        /// Its value.
        value: String,
        /// What would be accepted.
        accepted: &'static str,
    },
    /// There is no proxy.
    #[error("there is no [[proxy]]; at least one is needed")]
    NoProxy,
    /// One that two entries describe.
    #[error("`proxy[{second}].url` is the same proxy as `proxy[{first}].url`")]
    Twice {
        /// Its first place, counted from 0.
        first: usize,
        /// Its second.
        second: usize,
    },
    /// A plugin of one's own cannot be used.
    #[error("`plugin`: cannot use {path}: {reason}")]
    Plugin {
        /// Its file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file that is named cannot be used.
    #[error("`{field}`: cannot use {path}: {error}")]
    Path {
        /// The field.
        field: &'static str,
        /// The file.
        path: String,
        /// What the system says.
        error: std::io::Error,
    },
    /// The storage cannot be used.
    #[error("`storage`: {reason}")]
    Storage {
        /// Why not.
        reason: String,
    },
    /// A setting, a proxy or the plugin.
    #[error("{0}")]
    Host(#[from] Error),
    /// Nothing can be kept secret.
    #[error("the system has no randomness to give")]
    Random,
}

impl BuildError {
    /// Whether it is a plugin that cannot be used, rather than what it is to be told.
    pub(crate) fn is_of_a_plugin(&self) -> bool {
        matches!(self, Self::Plugin { .. } | Self::Host(Error::Plugin(_)))
    }

    /// The same of a field that stands elsewhere.
    pub(crate) fn at(self, place: String) -> Self {
        match self {
            Self::Field {
                value, accepted, ..
            } => Self::Field {
                field: place,
                value,
                accepted,
            },
            other => other,
        }
    }
}

pub(crate) fn field(
    field: impl Into<String>,
    value: impl ToString,
    accepted: &'static str,
) -> BuildError {
    BuildError::Field {
        field: field.into(),
        value: value.to_string(),
        accepted,
    }
}

/// A plugin from a file; what is wrong with it is said with the field and the file.
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

impl File {
    /// Where to listen.
    ///
    /// # Errors
    ///
    /// [`BuildError`] when it is an address that others reach, and the file does not allow that.
    pub fn addresses(&self) -> Result<Addresses, BuildError> {
        let remote =
            |address: &std::net::SocketAddr| !address.ip().is_loopback() && !self.allow_remote;
        if remote(&self.listen) && self.user.is_empty() && !self.has_tenants() {
            let accepted = "an address of this machine only (127.0.0.1, [::1]) unless clients have to say who they \
                            are: add a [[user]]. If something else keeps strangers out, set `allow_remote = true`";
            return Err(field("listen", self.listen, accepted));
        }
        if let Some(admin) = self.admin.filter(remote)
            && self.admin_token.is_none()
        {
            let accepted = "an address of this machine only (127.0.0.1, [::1]) unless there is an `admin_token`. If \
                            something else keeps strangers out, set `allow_remote = true`";
            return Err(field("admin", admin, accepted));
        }
        if let Some(admin) = self.admin
            && admin == self.listen
            && admin.port() != 0
        {
            let accepted = "an address of its own: `listen` has this one";
            return Err(field("admin", admin, accepted));
        }
        Ok(Addresses {
            listen: self.listen,
            admin: self.admin,
            shutdown_after: self.shutdown_after,
        })
    }

    /// Makes the pool at the top of the file: the plugin is loaded and told everything, nothing is listening yet.
    /// What `record` names is opened once a [`Server`](crate::server::Server) listens.
    ///
    /// # Errors
    ///
    /// [`BuildError`] names the first value that is not accepted.
    pub async fn build(&self) -> Result<Gateway, BuildError> {
        self.build_on(None).await
    }

    /// [`File::build`] on a runtime that others share.
    pub(crate) async fn build_on(&self, runtime: Option<&Runtime>) -> Result<Gateway, BuildError> {
        let proxies = self.pool().proxies()?;
        let settings = self.pool().settings(self.timeouts()?)?;
        let trust = self.trust()?;
        let mut builder = ProxyManager::builder()
            .config(self.pool().proxy_config())
            .strategy(self.rotation.strategy)
            .unmarked(Outcome::Cancelled);
        let plugin = match (&self.plugin, runtime) {
            (None, None) => None,
            (Some(path), None) => Some(own_plugin(path, Plugin::from_file(path))?),
            (Some(path), Some(runtime)) => Some(own_plugin(path, runtime.load_file(path))?),
            (None, Some(runtime)) if self.sticky.scope == Scope::Site => {
                Some(runtime.builtin_with_sites().map_err(Error::from)?)
            }
            (None, Some(runtime)) => Some(runtime.builtin().map_err(Error::from)?),
        };
        if let Some(plugin) = plugin {
            builder = builder.plugin(plugin);
        }
        let storage = self.storage()?.open(None)?;
        let mut builder = storage.under(builder, None);
        let record = self.record.as_deref().map(Record::new);
        if let Some(record) = &record {
            builder = builder.record(record.clone());
        }
        let manager = builder.build()?;
        let ids = manager.add_proxies(proxies).await?;
        let gateway = Gateway::new(manager, settings, trust).managed_by_file(ids);
        Ok(gateway.with_store(storage.store).with_record(record))
    }

    pub(crate) fn trust(&self) -> Result<Trust, BuildError> {
        let Some(path) = &self.tls.ca else {
            return Ok(Trust::default());
        };
        Trust::with_file(path).map_err(|error| BuildError::Path {
            field: "tls.ca",
            path: path.display().to_string(),
            error,
        })
    }
}
