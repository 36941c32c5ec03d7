//! The words of `types.wit` and Rust's own.

use std::time::Duration;

use remora_core as core;
use uuid::Uuid;

use remora_core::bounded;

use crate::bindings::{egress, sessions, types};
use crate::error::{CallError, Error};

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl From<types::ProxyId> for Uuid {
    fn from(id: types::ProxyId) -> Self {
        Self::from_u64_pair(id.high, id.low)
    }
}

impl From<Uuid> for types::ProxyId {
    fn from(id: Uuid) -> Self {
        let (high, low) = id.as_u64_pair();
        Self { high, low }
    }
}

impl From<core::StorageError> for types::StorageError {
    fn from(error: core::StorageError) -> Self {
        match error {
            core::StorageError::Full => Self::Full,
            core::StorageError::Corrupt => Self::Corrupt,
            core::StorageError::Contended => Self::Contended,
            _ => Self::Unavailable,
        }
    }
}

impl From<types::StorageError> for core::StorageError {
    fn from(error: types::StorageError) -> Self {
        match error {
            types::StorageError::Unavailable => Self::Unavailable,
            types::StorageError::Full => Self::Full,
            types::StorageError::Corrupt => Self::Corrupt,
            types::StorageError::Contended => Self::Contended,
        }
    }
}

impl From<types::KeyError> for core::KeyError {
    fn from(error: types::KeyError) -> Self {
        match error {
            types::KeyError::Empty => Self::Empty,
            types::KeyError::TooLong(limit) => Self::TooLong { limit },
            types::KeyError::Forbidden(at) => Self::Forbidden {
                byte: at.byte,
                position: at.position,
            },
            types::KeyError::NotAscii(position) => Self::NotAscii { position },
            types::KeyError::Port => Self::Port,
        }
    }
}

impl From<types::End> for core::End {
    fn from(end: types::End) -> Self {
        match end {
            types::End::Expired => Self::Expired,
            types::End::Idle => Self::Idle,
            types::End::MaxRequests => Self::MaxRequests,
            types::End::Failed => Self::Failed,
            types::End::Blocked => Self::Blocked,
            types::End::Removed => Self::Removed,
            types::End::Open => Self::Open,
        }
    }
}

impl From<egress::Reason> for core::Reason {
    fn from(reason: egress::Reason) -> Self {
        match reason {
            egress::Reason::Hit => Self::Hit,
            egress::Reason::Bound => Self::Bound,
            egress::Reason::Adopted => Self::Adopted,
            egress::Reason::Rebound(end) => Self::Rebound(end.into()),
            egress::Reason::Rotated => Self::Rotated,
        }
    }
}

impl From<egress::Lease> for core::Permit {
    fn from(lease: egress::Lease) -> Self {
        Self {
            proxy: lease.proxy.into(),
            generation: lease.generation,
            era: lease.era,
            probe: lease.probe,
            acquired_at: lease.acquired_at,
            deadline: lease.deadline,
            is_doubted: lease.doubted,
        }
    }
}

impl From<core::Permit> for egress::Lease {
    fn from(permit: core::Permit) -> Self {
        Self {
            proxy: permit.proxy.into(),
            generation: permit.generation,
            era: permit.era,
            probe: permit.probe,
            acquired_at: permit.acquired_at,
            deadline: permit.deadline,
            doubted: permit.is_doubted,
        }
    }
}

impl From<core::Attempt> for egress::Attempt {
    fn from(attempt: core::Attempt) -> Self {
        Self {
            lease: attempt.permit.into(),
            outcome: attempt.outcome.into(),
        }
    }
}

impl From<core::Outcome> for egress::Outcome {
    fn from(outcome: core::Outcome) -> Self {
        match outcome {
            core::Outcome::Success => Self::Success,
            core::Outcome::Failure => Self::Failure,
            core::Outcome::Blocked => Self::Blocked,
            core::Outcome::Ambiguous => Self::Ambiguous,
            core::Outcome::TimedOut => Self::TimedOut,
            core::Outcome::Inconclusive => Self::Inconclusive,
            core::Outcome::Cancelled => Self::Cancelled,
        }
    }
}

impl From<egress::BreakerChange> for core::BreakerChange {
    fn from(change: egress::BreakerChange) -> Self {
        match change {
            egress::BreakerChange::None => Self::None,
            egress::BreakerChange::Opened => Self::Opened,
            egress::BreakerChange::Reopened => Self::Reopened,
            egress::BreakerChange::Closed => Self::Closed,
            egress::BreakerChange::ProbeReturned => Self::ProbeReturned,
        }
    }
}

impl From<egress::AcquireError> for core::AcquireError {
    fn from(error: egress::AcquireError) -> Self {
        match error {
            egress::AcquireError::Key(error) => Self::Key(error.into()),
            egress::AcquireError::NoProxy => Self::NoProxy,
            egress::AcquireError::Exhausted(retry_after_ms) => Self::Exhausted { retry_after_ms },
            egress::AcquireError::SessionLost(lost) => Self::SessionLost {
                end: lost.end.into(),
                retry_after_ms: lost.retry_after,
            },
            egress::AcquireError::Storage(error) => Self::Storage(error.into()),
        }
    }
}

impl From<core::AcquireError> for Error {
    fn from(error: core::AcquireError) -> Self {
        match error {
            core::AcquireError::Key(error) => Self::Key(error),
            core::AcquireError::NoProxy => Self::NoProxy,
            core::AcquireError::Exhausted { retry_after_ms } => Self::Exhausted {
                retry_after: Duration::from_millis(retry_after_ms),
            },
            core::AcquireError::SessionLost {
                end,
                retry_after_ms,
            } => Self::SessionLost {
                end,
                retry_after: Duration::from_millis(retry_after_ms),
            },
            core::AcquireError::Storage(error) => Self::Storage(error),
        }
    }
}

impl From<core::Error> for Error {
    fn from(error: core::Error) -> Self {
        match error {
            core::Error::Key(error) => Self::Key(error),
            core::Error::Storage(error) => Self::Storage(error),
        }
    }
}

impl From<egress::AcquireError> for CallError {
    fn from(error: egress::AcquireError) -> Self {
        Self::Refused(core::AcquireError::from(error).into())
    }
}

impl From<types::StorageError> for CallError {
    fn from(error: types::StorageError) -> Self {
        Self::Refused(Error::Storage(error.into()))
    }
}

impl From<types::Invalid> for CallError {
    fn from(invalid: types::Invalid) -> Self {
        Self::Refused(Error::invalid(
            bounded(&invalid.field),
            bounded(&invalid.value),
            bounded(&invalid.accepted),
        ))
    }
}

impl From<types::KeyError> for CallError {
    fn from(error: types::KeyError) -> Self {
        Self::Refused(Error::Key(error.into()))
    }
}

impl From<sessions::SessionError> for CallError {
    fn from(error: sessions::SessionError) -> Self {
        Self::Refused(match error {
            sessions::SessionError::Key(error) => Error::Key(error.into()),
            sessions::SessionError::Storage(error) => Error::Storage(error.into()),
        })
    }
}

pub(crate) mod config {
    //! The configuration, from the core's words to those of `control.wit`.

    use crate::bindings::control as wit;

    remora_core::config_to_wit!(wit);
}
