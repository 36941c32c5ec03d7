//! `remora.toml`: read, checked, and explained. Pools, tenants and servers are made elsewhere, and import this module.
//!
//! | module | owns |
//! |---|---|
//! | `file`, `listener`, `envoy`, `tenant` | the fields of the file around the pools (those of a pool: [`remora_config`]) |
//! | `parse`, `type_errors`, `source` | from text to fields, with every error |
//! | `validate` | from fields to a [`Config`], with every error |
//! | `settings`, `pool`, `users`, `storage` | the checked values of a [`Config`] |
//! | `path_checks` | whether there are places for files |
//! | `explain` | the meaning of a file, in words |
//! | `error` | configuration errors |

mod envoy;
mod error;
mod explain;
mod file;
mod listener;
mod parse;
mod path_checks;
mod pool;
mod settings;
mod source;
mod storage;
mod tenant;
mod type_errors;
mod users;
mod validate;

use std::path::Path;

pub use error::{BuildError, ConfigError};
pub(crate) use error::{Problem, field};
pub use file::File;
pub(crate) use listener::Format;
pub(crate) use parse::unknown;
pub use pool::Pool;
pub(crate) use pool::proxies;
pub use settings::{Addresses, AdminAccess, Drain, Limits, Retry, Settings, Timeouts};
pub(crate) use storage::{Storage, StorageUrl};
pub(crate) use tenant::{TenantConfig, TenantLimits, check_name, read_tenant};
pub use validate::{Config, Draft, Shell, load};

/// A file of this text; `name` stands for it in errors.
pub fn draft(name: &str, text: &str) -> Draft {
    Draft::new(name, text.to_owned())
}

/// Reads a configuration file, and checks all of it for the gateway.
///
/// # Errors
///
/// [`ConfigError`] has everything that is wrong.
pub fn read(path: &Path) -> Result<Config, ConfigError> {
    load(path)?.validate(Shell::Gateway)
}

#[cfg(test)]
fn from_text(name: &str, text: &str) -> Result<File, ConfigError> {
    draft(name, text).into_file()
}
