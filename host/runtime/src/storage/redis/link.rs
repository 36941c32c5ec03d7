//! The connection: made, watched, given up and made again.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use compact_str::CompactString;
use parking_lot::Mutex;
use redis::RedisError;
use remora_core::{Cell, Table};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::RedisOpenError;
use super::calls::{cell, list};
use super::clock::ServerClock;
use super::connection::{Connection, Maker};
use super::layout::Layout;
use super::options::RedisOptions;
use super::recent::Recent;
use super::refusal::Refusal;
use super::script::{Call, LOOK};
use super::verdict::{Verdict, reason};
use crate::storage::health::Health;

/// How often the server is looked at while all goes well.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How long the pause before another attempt to connect is at first, and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// How often it is said that a server refuses.
const SAID_EVERY: Duration = Duration::from_secs(10);

const NO_CHANGES: &str = "the storage takes no changes";

/// How many sessions are asked for at a time after a failover.
const AT_A_TIME: usize = 256;

/// The way to the server, and what is known of it.
pub(super) struct Link {
    maker: Maker,
    options: RedisOptions,
    /// What looks are about, so that a cluster asks the right node.
    no_key: String,
    current: ArcSwapOption<Connection>,
    /// The keeper is to look at once.
    doubted: Notify,
    /// There is a connection again.
    connected: Notify,
    pub(super) clock: ServerClock,
    pub(super) health: Arc<Health>,
    pub(super) recent: Recent,
    layout: Layout,
    /// Which run of which server answered last.
    run: Mutex<String>,
    /// Since when it has not answered; `None` while it does.
    gone_since: Mutex<Option<Instant>>,
    refusal: Refusal,
    refused_at: Mutex<Option<Instant>>,
}

impl Link {
    pub(super) fn new(options: RedisOptions, layout: &Layout) -> Result<Arc<Self>, RedisOpenError> {
        let link = Arc::new(Self {
            maker: Maker::new(&options)?,
            options,
            no_key: layout.nothing(),
            current: ArcSwapOption::empty(),
            doubted: Notify::new(),
            connected: Notify::new(),
            clock: ServerClock::default(),
            health: Arc::new(Health::new()),
            recent: Recent::default(),
            layout: layout.clone(),
            run: Mutex::default(),
            gone_since: Mutex::default(),
            refusal: Refusal::default(),
            refused_at: Mutex::default(),
        });
        let runtime = tokio::runtime::Handle::try_current();
        let runtime = runtime.map_err(|_| RedisOpenError::NoRuntime)?;
        runtime.spawn(keep(Arc::downgrade(&link)));
        Ok(link)
    }

    /// The connection; waits for one where there is none, unless there has been none for `patience` already.
    pub(super) async fn connection(&self, patience: Duration) -> Option<Connection> {
        loop {
            let connected = self.connected.notified();
            if let Some(connection) = self.connection_now() {
                return Some(connection);
            }
            if self.has_been_gone_for(patience) {
                return None;
            }
            // The keeper wakes it; the end of patience does if the keeper does not.
            let _ = timeout(patience / 4, connected).await;
        }
    }

    /// The connection if there is one.
    fn connection_now(&self) -> Option<Connection> {
        self.current.load_full().map(|c| (*c).clone())
    }

    /// Whether it has not answered for that long.
    pub(super) fn has_been_gone_for(&self, long: Duration) -> bool {
        let since = *self.gone_since.lock();
        since.is_some_and(|since| since.elapsed() >= long)
    }

    /// A call has failed in a way that makes the connection doubtful.
    pub(super) fn doubt(&self, error: &RedisError) {
        self.gone_since.lock().get_or_insert_with(Instant::now);
        let what = match Verdict::of(error) {
            Verdict::Replica => NO_CHANGES,
            _ => "the storage does not answer",
        };
        self.fails(what, &reason(error));
        self.doubted.notify_one();
    }

    /// A server that answers has refused a change.
    pub(super) fn refused_change(&self, error: &RedisError) {
        let error = reason(error);
        self.refusal.met_by_a_call(&error);
        if self.fails(NO_CHANGES, &error) {
            self.doubted.notify_one();
        }
    }

    /// Says so once an outage. Answers whether it is a new one.
    fn fails(&self, what: &str, error: &str) -> bool {
        let new = self.health.failed();
        if new {
            let server = self.options.shown();
            tracing::warn!(server, error, "{what}");
        }
        new
    }

    /// The server has taken a change.
    pub(super) fn changed(&self) {
        if self.refusal.over() && self.health.recovered() {
            let server = self.options.shown();
            tracing::info!(server, "the storage takes changes again");
        }
    }

    /// A server that works has refused a call: one that is not a change, or one of an entry that is not ours, or for want
    /// of room. Said now and then, not with every call.
    pub(super) fn refused(&self, error: &RedisError) {
        let mut said_at = self.refused_at.lock();
        if said_at.is_none_or(|at| at.elapsed() >= SAID_EVERY) {
            *said_at = Some(Instant::now());
            let (server, error) = (self.options.shown(), reason(error));
            tracing::error!(server, error, "the storage refuses");
        }
    }

    /// The server is not the one that takes changes any more: the name may stand for another one by now.
    pub(super) fn leave(&self, error: &RedisError) {
        self.current.store(None);
        self.doubt(error);
    }

    /// Makes a connection and looks at the server.
    async fn reach(&self) -> Result<Seen, RedisError> {
        let patience = self.options.connect_timeout + self.options.answer_timeout;
        let made = timeout(patience, self.maker.connect()).await;
        let mut connection = made.map_err(|_| timed_out())??;
        let seen = self.look(&mut connection).await?;
        self.current.store(Some(Arc::new(connection)));
        self.connected.notify_waiters();
        Ok(seen)
    }

    /// Asks the server for its time and its name.
    async fn look(&self, connection: &mut Connection) -> Result<Seen, RedisError> {
        let asked = Instant::now();
        let look = LOOK.call(&[&self.no_key], &[]);
        let answer = timeout(self.options.answer_timeout, look.send(connection)).await;
        let answer = answer.map_err(|_| timed_out())??;
        let (seconds, micros, run, refusal): (u64, u64, String, String) =
            redis::from_redis_value(answer)?;
        *self.gone_since.lock() = None;
        let before = std::mem::replace(&mut *self.run.lock(), run.clone());
        let (first, other) = (before.is_empty(), before != run);
        let now_ms = seconds.saturating_mul(1_000).saturating_add(micros / 1_000);
        self.clock.looked(now_ms, asked, other);
        let server = self.options.shown();
        if other && !first {
            self.health.failed_over();
            tracing::warn!(
                server,
                "another server, or the same one after a restart, answers now: changes of the last moments may be lost"
            );
        }
        if self.refusal.looked_at(&refusal) {
            self.fails(NO_CHANGES, &refusal);
        } else if (!self.refusal.is_on() && self.health.recovered()) || (first && other) {
            tracing::info!(server, "the storage answers");
        }
        Ok(if other && !first {
            Seen::Another
        } else {
            Seen::TheSame
        })
    }

    /// After a failover: counts the sessions that are not as this process left them. `None`: the server does not say.
    async fn count_lost(&self) -> Option<()> {
        let taken = self.recent.take();
        let keys = taken.keys();
        let Some(current) = self.sessions_now(&keys).await else {
            self.recent.put_back(taken);
            return None;
        };
        let (lost, of) = (
            taken.lost(self.clock.now_ms().unwrap_or(0), &current),
            keys.len(),
        );
        self.health.lost(lost);
        let server = self.options.shown();
        if lost == 0 {
            tracing::info!(server, of, "of the sessions changed last, none is lost");
        } else {
            tracing::warn!(
                server,
                lost,
                of,
                "of the sessions changed last, some have lost a change: they get another exit, or an old one back"
            );
        }
        Some(())
    }

    async fn sessions_now(
        &self,
        keys: &[CompactString],
    ) -> Option<HashMap<CompactString, Option<Cell>>> {
        let mut connection = self.connection_now()?;
        let mut current = HashMap::new();
        for some in keys.chunks(AT_A_TIME) {
            let mut get = redis::cmd("MGET");
            for key in some {
                get.arg(self.layout.entry(Table::Sessions, key));
            }
            let call = Call::from(get);
            let answer = timeout(self.options.answer_timeout, call.send(&mut connection)).await;
            let values = list(answer.ok()?.ok()?).ok()?;
            for (key, value) in some.iter().zip(values) {
                current.insert(key.clone(), cell(value).ok()?);
            }
        }
        Some(current)
    }
}

/// Which server a look has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    TheSame,
    /// Another one than before, or the same one after a restart.
    Another,
}

/// Watches over a link for as long as it is in use.
async fn keep(link: Weak<Link>) {
    let mut pause = BACKOFF.0;
    // A failover has been seen, and what it took back is not known yet.
    let mut uncounted = false;
    loop {
        let Some(link) = link.upgrade() else { return };
        let looked = match link.connection_now() {
            Some(mut connection) => link.look(&mut connection).await,
            None => link.reach().await,
        };
        let error = match looked {
            Ok(seen) => {
                pause = BACKOFF.0;
                uncounted |= seen == Seen::Another;
                if uncounted {
                    uncounted = link.count_lost().await.is_none();
                }
                let waits = async move {
                    tokio::select! {
                        () = link.doubted.notified() => {}
                        () = sleep(LOOK_EVERY) => {}
                    }
                };
                waits.await;
                continue;
            }
            Err(error) => error,
        };
        link.doubt(&error);
        // A connection that does not answer a look is not worth waiting for: a server that is back answers a new one.
        link.current.store(None);
        drop(link);
        sleep(pause + jitter(pause)).await;
        pause = (pause * 2).min(BACKOFF.1);
    }
}

/// Up to half a pause more, so that a fleet does not come back all at once.
fn jitter(pause: Duration) -> Duration {
    let random = uuid::Uuid::new_v4().as_u64_pair().1 % 1_000;
    pause.mul_f64(random as f64 / 2_000.0)
}

fn timed_out() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::TimedOut).into()
}
