//! Connections that are kept for the next request.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use hyper::http::uri::Authority;
use parking_lot::Mutex;
use remora_host::Credentials;

use super::link::Link;

/// How long an idle connection is kept. Shorter than the idle timeouts of common proxies, so that a
/// request rarely meets one that is just being closed.
const IDLE: Duration = Duration::from_secs(20);

/// How many idle connections are kept to one upstream proxy.
const MAX_IDLE: usize = 256;

/// Whose requests may share a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Kind {
    /// The credentials, where they differ from session to session: a provider may tie a connection to the
    /// first exit that it was used for.
    pub(super) credentials: Option<Credentials>,
    /// The target, where the proxy is a tunnel to it.
    pub(super) origin: Option<Authority>,
}

/// The idle connections to one upstream proxy.
#[derive(Default)]
pub(super) struct Idle(Mutex<Shelves>);

#[derive(Default)]
struct Shelves {
    kinds: HashMap<Kind, Vec<Kept>>,
    /// How many connections there are, of all kinds.
    count: usize,
}

struct Kept {
    link: Link,
    since: Instant,
}

impl Kept {
    fn is_fresh(&self) -> bool {
        self.since.elapsed() < IDLE
    }
}

impl Shelves {
    fn pop(&mut self, kind: &Kind) -> Option<Kept> {
        let kept = self.kinds.get_mut(kind)?.pop()?;
        self.count -= 1;
        Some(kept)
    }

    fn push(&mut self, kind: &Kind, kept: Kept) {
        if self.count >= MAX_IDLE {
            self.sweep();
        }
        if self.count >= MAX_IDLE {
            return;
        }
        self.count += 1;
        match self.kinds.get_mut(kind) {
            Some(list) => list.push(kept),
            None => {
                self.kinds.insert(kind.clone(), vec![kept]);
            }
        }
    }

    fn sweep(&mut self) {
        self.kinds.retain(|_, list| {
            list.retain(Kept::is_fresh);
            !list.is_empty()
        });
        self.count = self.kinds.values().map(Vec::len).sum();
    }
}

impl Idle {
    /// The connection used last, ready for a request.
    pub(super) async fn take(&self, kind: &Kind) -> Option<Link> {
        loop {
            let mut kept = self.0.lock().pop(kind)?;
            if kept.is_fresh() && kept.link.is_ready().await {
                return Some(kept.link);
            }
        }
    }

    /// Keeps a connection whose last response has been read.
    pub(super) fn keep(&self, kind: &Kind, link: Link) {
        let since = Instant::now();
        self.0.lock().push(kind, Kept { link, since });
    }

    /// Closes what nobody has used for a while.
    pub(super) fn sweep(&self) {
        self.0.lock().sweep();
    }
}
