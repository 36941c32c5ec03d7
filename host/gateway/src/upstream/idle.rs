//! Idle connections to upstream proxies, kept for the next request.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use hyper::http::uri::Authority;
use parking_lot::Mutex;
use remora_host::Credentials;

use super::http1::Http1Connection;

/// How long an idle connection is kept. Shorter than the idle timeouts of common proxies, so that a
/// request rarely meets one that is just being closed.
const IDLE: Duration = Duration::from_secs(20);

/// How many idle connections are kept to one upstream proxy.
const MAX_IDLE: usize = 256;

/// The requests that may share a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct PoolKey {
    /// The credentials, where they differ from session to session: a provider may tie a connection to the
    /// first exit that it was used for.
    pub(super) credentials: Option<Credentials>,
    /// The target, where the proxy is a tunnel to it.
    pub(super) origin: Option<Authority>,
}

/// The idle connections to one upstream proxy.
#[derive(Default)]
pub(super) struct Idle(Mutex<IdleMap>);

#[derive(Default)]
struct IdleMap {
    connections: HashMap<PoolKey, Vec<IdleConnection>>,
    /// Number of connections, of all keys.
    count: usize,
}

struct IdleConnection {
    connection: Http1Connection,
    since: Instant,
}

impl IdleConnection {
    fn is_fresh(&self) -> bool {
        self.since.elapsed() < IDLE
    }
}

impl IdleMap {
    fn pop(&mut self, key: &PoolKey) -> Option<IdleConnection> {
        let idle = self.connections.get_mut(key)?.pop()?;
        self.count -= 1;
        Some(idle)
    }

    fn push(&mut self, key: &PoolKey, idle: IdleConnection) {
        if self.count >= MAX_IDLE {
            self.sweep();
        }
        if self.count >= MAX_IDLE {
            return;
        }
        self.count += 1;
        match self.connections.get_mut(key) {
            Some(list) => list.push(idle),
            None => {
                self.connections.insert(key.clone(), vec![idle]);
            }
        }
    }

    fn sweep(&mut self) {
        self.connections.retain(|_, list| {
            list.retain(IdleConnection::is_fresh);
            !list.is_empty()
        });
        self.count = self.connections.values().map(Vec::len).sum();
    }
}

impl Idle {
    /// The connection used last, ready for a request.
    pub(super) async fn take(&self, key: &PoolKey) -> Option<Http1Connection> {
        loop {
            let mut idle = self.0.lock().pop(key)?;
            if idle.is_fresh() && idle.connection.is_ready().await {
                return Some(idle.connection);
            }
        }
    }

    /// Keeps a connection whose last response has been read.
    pub(super) fn keep(&self, key: &PoolKey, connection: Http1Connection) {
        let since = Instant::now();
        self.0
            .lock()
            .push(key, IdleConnection { connection, since });
    }

    /// Closes the connections that were idle for too long.
    pub(super) fn sweep(&self) {
        self.0.lock().sweep();
    }
}
