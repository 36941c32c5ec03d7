//! Settings of the data path: timeouts, retries, limits for client connections.

use std::time::Duration;

use remora_core::RETRY_ATTEMPTS;
use remora_http::StatusClassifier;

/// How long the gateway waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Connecting to an upstream proxy, and for a tunnel its answer to CONNECT.
    pub connect: Duration,
    /// From the request to the head of the response.
    pub head: Duration,
    /// A tunnel or a response's body in which nothing moves.
    pub idle: Duration,
}

/// How often a request is sent once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Maximum number of further proxies for one request.
    pub attempts: u32,
    /// Whether a response by which the target refuses this exit is retried, too.
    pub blocked: bool,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: RETRY_ATTEMPTS,
            blocked: false,
        }
    }
}

/// Settings of a pool that can change while the gateway serves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long the gateway waits.
    pub timeouts: Timeouts,
    /// The outcomes of statuses.
    pub statuses: StatusClassifier,
    /// How often a request is sent once more.
    pub retry: Retry,
}

/// Limits for the connections of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Maximum number of connections served at a time; others wait.
    pub max_connections: usize,
    /// Maximum size of a request's head in bytes, at least 8192.
    pub max_header_bytes: usize,
    /// How long a client may take for the head of a request, and between two requests.
    pub client: Duration,
    /// How long a client may leave sent bytes unread (on Linux).
    pub idle: Duration,
}
