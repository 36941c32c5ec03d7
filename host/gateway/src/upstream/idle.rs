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

/// How many idle connections are kept of one kind.
const MAX_IDLE: usize = 128;

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
pub(super) struct Idle(Mutex<HashMap<Kind, Vec<Kept>>>);

struct Kept {
    link: Link,
    since: Instant,
}

impl Kept {
    fn is_fresh(&self) -> bool {
        self.since.elapsed() < IDLE
    }
}

impl Idle {
    /// The connection used last, ready for a request.
    pub(super) async fn take(&self, kind: &Kind) -> Option<Link> {
        loop {
            let mut kept = self.0.lock().get_mut(kind)?.pop()?;
            if kept.is_fresh() && kept.link.is_ready().await {
                return Some(kept.link);
            }
        }
    }

    /// Keeps a connection whose last response has been read.
    pub(super) fn keep(&self, kind: &Kind, link: Link) {
        let kept = Kept {
            link,
            since: Instant::now(),
        };
        let mut all = self.0.lock();
        let Some(list) = all.get_mut(kind) else {
            all.insert(kind.clone(), vec![kept]);
            return;
        };
        // The oldest come first.
        let stale = list.iter().take_while(|kept| !kept.is_fresh()).count();
        list.drain(..stale);
        if list.len() < MAX_IDLE {
            list.push(kept);
        }
    }

    /// Closes what nobody has used for a while.
    pub(super) fn sweep(&self) {
        self.0.lock().retain(|_, list| {
            list.retain(Kept::is_fresh);
            !list.is_empty()
        });
    }
}
