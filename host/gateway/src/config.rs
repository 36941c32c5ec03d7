//! `remora.toml`: read, checked, and turned into a gateway.

mod build;
mod envoy;
mod explain;
mod file;
mod kind;
mod parse;
mod places;
mod pool;
mod serving;
mod settings;
mod storage;
mod tenant;
mod time;
mod users;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use thiserror::Error;

pub use build::BuildError;
pub(crate) use build::{field, own_plugin};
pub use envoy::EnvoyFields;
pub use file::{Breaker, File, Override, ProxyEntry, Rotation, Sticky};
pub(crate) use parse::unknown;
pub(crate) use serving::Format;
pub use serving::{
    ClientFields, LimitFields, LogFields, OutcomeFields, OutcomeOverride, RetryFields, Secret,
    TimeoutFields, TlsFields, User,
};
pub(crate) use storage::{OpenStorage, StorageFields};
pub use tenant::{TenantFields, TenantLimitFields};
pub(crate) use tenant::{check_name, read_tenant};
pub(crate) use users::{Passwords, secrets};

/// What is wrong with a configuration file. Never shows a line of it: there are passwords in there.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read {path}: {error}")]
    Read {
        /// The file.
        path: String,
        /// What the system says.
        error: std::io::Error,
    },
    /// It is not TOML, or has a field that is not known or not of the right kind.
    #[error("{path}:{line}: {reason}")]
    Parse {
        /// The file.
        path: String,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A value is not accepted.
    #[error("{path}: {error}")]
    Build {
        /// The file.
        path: String,
        /// Which one, and what would be.
        error: BuildError,
    },
}

/// Where a server listens, and how it stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Where the admin interface is.
    pub admin: Option<SocketAddr>,
    /// How long requests in flight may take after a signal.
    pub shutdown_after: Duration,
}

/// Reads the text of a configuration file; `name` stands for the file in errors.
///
/// # Errors
///
/// [`ConfigError`] names the line and the field.
pub fn from_text(name: &str, text: &str) -> Result<File, ConfigError> {
    parse::parse(name, text)
}

/// Reads a configuration file.
///
/// # Errors
///
/// [`ConfigError`] names the file, the line and the field.
pub fn read(path: &Path) -> Result<File, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|error| ConfigError::Read {
        path: path.display().to_string(),
        error,
    })?;
    from_text(&path.display().to_string(), &text)
}
