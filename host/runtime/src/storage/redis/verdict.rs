//! What an error of the server or the connection means for a call.

use redis::{ErrorKind, RedisError, ServerErrorKind};
use remora_core::StorageError;

pub(super) enum Verdict {
    /// The connection is doubtful; whether the call was carried out, nobody knows.
    Lost,
    /// The server is about to be able to.
    NotNow,
    /// It was sent to a server that only follows another one.
    Replica,
    /// Sent again, it would be refused again.
    Refused(StorageError),
}

impl Verdict {
    pub(super) fn of(error: &RedisError) -> Self {
        match error.kind() {
            ErrorKind::Io
            | ErrorKind::Parse
            | ErrorKind::AuthenticationFailed
            | ErrorKind::ClusterConnectionNotFound => Self::Lost,
            ErrorKind::UnexpectedReturnType => Self::Refused(StorageError::Corrupt),
            ErrorKind::Server(server) => match server {
                ServerErrorKind::BusyLoading
                | ServerErrorKind::TryAgain
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::MasterDown
                | ServerErrorKind::Moved
                | ServerErrorKind::Ask => Self::NotNow,
                ServerErrorKind::ReadOnly => Self::Replica,
                _ => Self::Refused(StorageError::Unavailable),
            },
            _ => Self::Refused(match error.code() {
                Some("OOM") => StorageError::Full,
                Some("WRONGTYPE") => StorageError::Corrupt,
                _ => StorageError::Unavailable,
            }),
        }
    }
}

/// An error for logs: what the server or the system says. Neither has seen the address that we were given.
pub(super) fn reason(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        (Some(code), None) => code.to_owned(),
        _ if error.is_io_error() => error.to_string(),
        _ => error.category().to_owned(),
    }
}
