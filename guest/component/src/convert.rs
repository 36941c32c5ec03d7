//! The words of `types.wit` and the core's own.

use remora_core as core;
use uuid::Uuid;

use crate::bindings::remora::egress::types;

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

impl From<types::Proxy> for core::ProxySpec {
    fn from(proxy: types::Proxy) -> Self {
        Self {
            id: proxy.id.into(),
            weight: proxy.weight,
            tags: proxy.tags,
        }
    }
}

impl From<core::Invalid> for types::Invalid {
    fn from(invalid: core::Invalid) -> Self {
        Self {
            field: invalid.field,
            value: invalid.value,
            accepted: invalid.accepted,
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

impl From<core::StorageError> for types::StorageError {
    fn from(error: core::StorageError) -> Self {
        match error {
            core::StorageError::Full => Self::Full,
            core::StorageError::Corrupt => Self::Corrupt,
            core::StorageError::Contended => Self::Contended,
            // An error that a newer core might add is one that trying again might mend.
            _ => Self::Unavailable,
        }
    }
}

impl From<core::KeyError> for types::KeyError {
    fn from(error: core::KeyError) -> Self {
        match error {
            core::KeyError::Empty => Self::Empty,
            core::KeyError::TooLong { limit } => Self::TooLong(limit),
            core::KeyError::Forbidden { byte, position } => {
                Self::Forbidden(types::ForbiddenByte { byte, position })
            }
            core::KeyError::NotAscii { position } => Self::NotAscii(position),
            core::KeyError::Port => Self::Port,
        }
    }
}

impl From<core::End> for types::End {
    fn from(end: core::End) -> Self {
        match end {
            core::End::Expired => Self::Expired,
            core::End::Idle => Self::Idle,
            core::End::MaxRequests => Self::MaxRequests,
            core::End::Failed => Self::Failed,
            core::End::Blocked => Self::Blocked,
            core::End::Removed => Self::Removed,
            core::End::Open => Self::Open,
        }
    }
}
