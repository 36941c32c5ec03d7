//! What can go wrong, with the facts a caller needs.

use std::fmt;
use std::time::Duration;

use remora_core::{End, Invalid, KeyError, StorageError, bounded};
use thiserror::Error;

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Error {
    /// The target, a session id or a tag is malformed.
    #[error("invalid session key: {0}")]
    Key(#[from] KeyError),
    /// The target cannot be turned into ASCII by the rules of internationalised domain names.
    #[error("not a domain name: {0}")]
    Domain(String),
    /// No proxy in the pool is switched on and carries the tags asked for; waiting will not help.
    #[error("no proxy is switched on and carries the tags asked for")]
    NoProxy,
    /// Every proxy that would do has an open circuit breaker.
    #[error(
        "every proxy that would do has an open circuit breaker; the first probe is due in {retry_after:?}"
    )]
    Exhausted {
        /// How long until the first of them admits a probe.
        retry_after: Duration,
    },
    /// The session's proxy went bad, and its policy is strict.
    #[error(
        "the session's proxy is lost ({end}) and the policy is strict; a new session may begin in {retry_after:?}"
    )]
    SessionLost {
        /// How the session was lost.
        end: End,
        /// How long until it ends and a new one may begin.
        retry_after: Duration,
    },
    /// The storage failed.
    #[error("{0}")]
    Storage(#[from] StorageError),
    /// A configuration value is not accepted; nothing was changed.
    #[error("{0}")]
    Invalid(Invalid),
    /// The plugin could not be loaded, or trapped.
    #[error("{0}")]
    Plugin(#[from] PluginError),
}

impl Error {
    /// When trying again may help; `None` when it will not, or when nobody knows.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Exhausted { retry_after } | Self::SessionLost { retry_after, .. } => {
                Some(*retry_after)
            }
            Self::Plugin(PluginError::OverBudget { retry_after, .. }) => Some(*retry_after),
            _ => None,
        }
    }

    /// The name used in metrics: one of [`names::RESULTS`](crate::names::RESULTS), or `plugin`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Key(_) | Self::Domain(_) | Self::Invalid(_) => "invalid",
            Self::NoProxy => "no-proxy",
            Self::Exhausted { .. } => "exhausted",
            Self::SessionLost { .. } => "session-lost",
            Self::Storage(_) => "storage",
            Self::Plugin(_) => "plugin",
        }
    }

    pub(crate) fn invalid(
        field: impl Into<String>,
        value: impl fmt::Display,
        accepted: impl Into<String>,
    ) -> Self {
        Self::Invalid(Invalid::new(field, value, accepted))
    }
}

/// What is wrong with a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PluginError {
    /// The file cannot be read.
    #[error("cannot read the plugin {path}: {reason}")]
    Read {
        /// The file.
        path: String,
        /// What the system says.
        reason: String,
    },
    /// It is not a WebAssembly component.
    #[error("not a WebAssembly component: {0}")]
    Compile(String),
    /// It imports more than a clock and storage.
    #[error("the plugin imports what it may not have: {}; a plugin gets remora:egress/clock and remora:egress/storage", .0.join(", "))]
    Imports(Vec<String>),
    /// It does not export the world `remora:egress/plugin`.
    #[error("the plugin is not of the world remora:egress/plugin: {0}")]
    World(String),
    /// It is larger than a component may be.
    #[error("the component has {size} bytes or more; accepted: {limit}")]
    TooLarge {
        /// Its size, as far as it was looked at.
        size: u64,
        /// [`RuntimeConfig::component_size`](crate::RuntimeConfig::component_size).
        limit: u64,
    },
    /// It takes longer to compile than it may.
    #[error("the component takes longer to compile than {limit:?}")]
    CompileTime {
        /// [`Compiler::timeout`](crate::Compiler::timeout).
        limit: Duration,
    },
    /// The program that compiles cannot be run.
    #[error("cannot run the compiler: {0}")]
    Compiler(String),
    /// The directory for compiled code cannot be used, or not trusted.
    #[error("cannot keep compiled code in {path}: {reason}")]
    Cache {
        /// The directory.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The system has not the room that was asked for.
    #[error("cannot make room for plugins: {0}")]
    Runtime(String),
    /// It cannot be instantiated.
    #[error("cannot start the plugin: {0}")]
    Start(String),
    /// It trapped in a call. The instance is replaced; sessions and breakers live in storage and stay.
    #[error("the plugin trapped: {0}")]
    Trapped(String),
    /// It used more of the processor than it may; see
    /// [`Limits::processor_percent`](crate::Limits::processor_percent).
    #[error(
        "the plugin used more than its {percent} % of a processor; it may run again in {retry_after:?}"
    )]
    OverBudget {
        /// What it may use.
        percent: u32,
        /// How long until it is called again.
        retry_after: Duration,
    },
}

/// What a failed call into an instance means for the instance.
#[derive(Debug)]
pub(crate) enum CallError {
    /// The plugin answered, and said no.
    Refused(Error),
    /// The instance is lost.
    Trapped(PluginError),
}

impl From<wasmtime::Error> for CallError {
    fn from(error: wasmtime::Error) -> Self {
        // The root is the trap's own line; the rest is a backtrace for the plugin's author.
        Self::Trapped(PluginError::Trapped(match error.downcast_ref() {
            Some(wasmtime::Trap::Interrupt) => "it ran longer than a call may".into(),
            _ => bounded(&error.root_cause().to_string()),
        }))
    }
}

impl From<Error> for CallError {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl From<CallError> for Error {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Refused(error) => error,
            CallError::Trapped(error) => Self::Plugin(error),
        }
    }
}
