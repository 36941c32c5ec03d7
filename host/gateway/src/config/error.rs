//! Configuration errors. None shows a line of the file: there are passwords in it.

use std::fmt;

use remora_host::{Error, Invalid};
use thiserror::Error;

use super::source::Source;

/// A configuration that cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {error}")]
    Read {
        /// The file.
        path: String,
        /// The error of the system.
        error: std::io::Error,
    },
    /// All that is wrong with a file.
    #[error("{}", self.lines().join("; "))]
    Invalid {
        /// The file.
        path: String,
        /// At least one, in the order of the file.
        problems: Vec<Problem>,
    },
    /// The file is good, and a thing that it describes cannot be made.
    #[error("{path}: {error}")]
    Build {
        /// The file.
        path: String,
        /// The reason.
        error: BuildError,
    },
}

impl ConfigError {
    /// A line for each thing that is wrong.
    pub fn lines(&self) -> Vec<String> {
        match self {
            Self::Invalid { path, problems } => {
                let lines = problems.iter();
                lines.map(|problem| problem.line(path)).collect()
            }
            other => vec![other.to_string()],
        }
    }
}

/// One thing that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The line, counted from 1, where there is one.
    line: Option<usize>,
    reason: String,
    /// Whether the line is given before the reason.
    leads: bool,
}

impl Problem {
    /// A syntax error, an unknown field, or a value of the wrong kind: the line comes first.
    pub(super) fn at(line: usize, reason: String) -> Self {
        Self {
            line: Some(line),
            reason,
            leads: true,
        }
    }

    /// A value that is not accepted: the reason begins with its field. `at`: the field from the top of the file.
    pub(super) fn of(source: &Source, at: &str, reason: impl fmt::Display) -> Self {
        Self {
            line: source.line_of(at),
            reason: reason.to_string(),
            leads: false,
        }
    }

    /// A problem without a line.
    pub(crate) fn without_line(reason: String) -> Self {
        Self {
            line: None,
            reason,
            leads: false,
        }
    }

    /// Its place in the file; problems without a line come last.
    pub(super) fn order(&self) -> usize {
        self.line.unwrap_or(usize::MAX)
    }

    fn line(&self, path: &str) -> String {
        let reason = &self.reason;
        match (self.line, self.leads) {
            (Some(line), true) => format!("{path}:{line}: {reason}"),
            (Some(line), false) => format!("{path}: {reason} (line {line})"),
            (None, _) => format!("{path}: {reason}"),
        }
    }
}

/// A value that is not accepted, or a thing that cannot be made as the file describes it.
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
        /// The error.
        reason: String,
    },
    /// A file that is named cannot be used.
    #[error("`{field}`: cannot use {path}: {error}")]
    Path {
        /// The field.
        field: &'static str,
        /// The file.
        path: String,
        /// The error of the system.
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
    /// The file of a tenant has errors.
    #[error("{0}")]
    Tenant(String),
    /// Nothing can be kept secret.
    #[error("the system has no randomness to give")]
    Random,
}

impl From<Invalid> for BuildError {
    fn from(invalid: Invalid) -> Self {
        Self::Host(Error::Invalid(invalid))
    }
}

impl BuildError {
    /// Whether it is a plugin that cannot be used, rather than its configuration.
    pub(crate) fn is_of_a_plugin(&self) -> bool {
        matches!(self, Self::Plugin { .. } | Self::Host(Error::Plugin(_)))
    }

    /// The field that it is about; empty where it is about none.
    pub(super) fn place(&self) -> String {
        match self {
            Self::Field { field, .. } => field.clone(),
            Self::Twice { second, .. } => format!("proxy[{second}].url"),
            Self::Plugin { .. } => "plugin".into(),
            Self::Path { field, .. } => (*field).into(),
            Self::Storage { .. } => "storage".into(),
            Self::Host(Error::Invalid(invalid)) => invalid.field.clone(),
            Self::NoProxy | Self::Host(_) | Self::Tenant(_) | Self::Random => String::new(),
        }
    }

    /// The same of a field that stands elsewhere.
    pub(super) fn at(self, place: String) -> Self {
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
