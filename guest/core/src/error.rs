//! Errors, with the facts a caller needs to act on them.

use alloc::string::{String, ToString};
use core::fmt;

use crate::end::End;
use crate::storage::StorageError;
use crate::text::bounded;

/// A configuration value that is not accepted. Nothing of the configuration it came in was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Invalid {
    /// The field, as it is spelt in the configuration file.
    pub field: String,
    /// The offending value, as [`bounded`] shows it.
    pub value: String,
    /// What would have been accepted.
    pub accepted: String,
}

impl Invalid {
    /// The value becomes text that can stand in a log.
    pub fn new(
        field: impl Into<String>,
        value: impl fmt::Display,
        accepted: impl Into<String>,
    ) -> Self {
        Self {
            field: field.into(),
            value: bounded(&value.to_string()),
            accepted: accepted.into(),
        }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is `{}`; accepted: {}",
            self.field, self.value, self.accepted
        )
    }
}

impl core::error::Error for Invalid {}

/// Why a target, session id or tag cannot be part of a session key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum KeyError {
    /// Nothing is left of it once the port and the trailing dot are gone.
    Empty,
    /// Longer than `limit` bytes.
    TooLong {
        /// The most bytes accepted.
        limit: u32,
    },
    /// A byte that cannot be there, such as a control character or the `/` of a URL.
    Forbidden {
        /// The byte.
        byte: u8,
        /// Where it stands, counted in bytes from zero.
        position: u32,
    },
    /// Not ASCII; the host has to punycode it first.
    NotAscii {
        /// Where the first such byte stands, counted in bytes from zero.
        position: u32,
    },
    /// What stands behind the last colon is not a port, and the whole is not an IPv6 address.
    Port,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("empty"),
            Self::TooLong { limit } => write!(f, "longer than {limit} bytes"),
            Self::Forbidden { byte, position } => {
                write!(
                    f,
                    "byte 0x{byte:02x} at position {position} is not accepted"
                )
            }
            Self::NotAscii { position } => {
                write!(f, "not ASCII at position {position}; punycode it first")
            }
            Self::Port => f.write_str("neither a port behind the colon nor an IPv6 address"),
        }
    }
}

impl core::error::Error for KeyError {}

/// Why an acquire got no proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum AcquireError {
    /// The target, the session id or a tag is malformed.
    Key(KeyError),
    /// No proxy in the pool is switched on and carries the tags asked for: waiting will not help.
    NoProxy,
    /// Every proxy that would do has an open breaker (rule 9).
    Exhausted {
        /// Milliseconds until the first of them admits a probe.
        retry_after_ms: u64,
    },
    /// The session's proxy went bad and its policy is `strict` (rule 2): no other exit until the
    /// session ends.
    SessionLost {
        /// How the session was lost.
        end: End,
        /// Milliseconds until the session ends and a new one may begin.
        retry_after_ms: u64,
    },
    /// The back end failed.
    Storage(StorageError),
}

impl fmt::Display for AcquireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(error) => write!(f, "invalid session key: {error}"),
            Self::NoProxy => f.write_str("no proxy is switched on and carries the tags asked for"),
            Self::Exhausted { retry_after_ms } => write!(
                f,
                "every proxy that would do has an open circuit breaker; the first probe is due in {retry_after_ms} ms"
            ),
            Self::SessionLost {
                end,
                retry_after_ms,
            } => write!(
                f,
                "the session's proxy is lost ({end}) and the policy is strict; a new session may begin in {retry_after_ms} ms"
            ),
            Self::Storage(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for AcquireError {}

impl From<KeyError> for AcquireError {
    fn from(error: KeyError) -> Self {
        Self::Key(error)
    }
}

impl From<StorageError> for AcquireError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

/// Why an operation on the session table failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Error {
    /// The key is malformed.
    Key(KeyError),
    /// The back end failed.
    Storage(StorageError),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(error) => write!(f, "invalid session key: {error}"),
            Self::Storage(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for Error {}

impl From<KeyError> for Error {
    fn from(error: KeyError) -> Self {
        Self::Key(error)
    }
}

impl From<StorageError> for Error {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}
