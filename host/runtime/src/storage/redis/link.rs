//! The connection: made, watched, given up and made again.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::cluster_async::ClusterConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, Pipeline, RedisError, RedisFuture,
    TlsCertificates, Value,
};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::RedisOpenError;
use super::clock::ServerClock;
use super::layout::Layout;
use super::options::RedisOptions;
use super::script::LOOK;
use super::verdict::reason;
use crate::storage::health::Health;

/// How often the server is looked at while all goes well.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How long the pause before another attempt to connect is at first, and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// How often it is said that a server refuses.
const SAID_EVERY: Duration = Duration::from_secs(10);

/// Many calls share it: they are pipelined.
#[derive(Clone)]
pub(super) enum Connection {
    Server(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Server(server) => server.req_packed_command(cmd),
            Self::Cluster(cluster) => cluster.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        cmd: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Server(server) => server.req_packed_commands(cmd, offset, count),
            Self::Cluster(cluster) => cluster.req_packed_commands(cmd, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Server(server) => server.get_db(),
            Self::Cluster(cluster) => cluster.get_db(),
        }
    }
}

enum Maker {
    Server(Client, AsyncConnectionConfig),
    Cluster(ClusterClient),
}

impl Maker {
    fn new(options: &RedisOptions) -> Result<Self, RedisOpenError> {
        let certificates = options.ca.as_ref().map(|path| {
            let pem = std::fs::read(path).map_err(|error| RedisOpenError::Certificates {
                path: path.display().to_string(),
                reason: error.to_string(),
            })?;
            Ok(TlsCertificates {
                client_tls: None,
                root_cert: Some(pem),
            })
        });
        let certificates = certificates.transpose()?;
        let refused = |error: RedisError| RedisOpenError::Address(reason(&error));
        if !options.cluster {
            let Some(node) = options.nodes.first().cloned() else {
                return Err(RedisOpenError::Address("no host".into()));
            };
            let client = match certificates {
                Some(certificates) => Client::build_with_tls(node, certificates),
                None => Client::open(node),
            };
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(options.connect_timeout))
                .set_response_timeout(Some(options.answer_timeout));
            return Ok(Self::Server(client.map_err(refused)?, config));
        }
        let nodes: Vec<ConnectionInfo> = options
            .nodes
            .iter()
            .map(|node| redis::IntoConnectionInfo::into_connection_info(node.clone()))
            .collect::<Result<_, _>>()
            .map_err(refused)?;
        // A change that is sent again is known by its mark, so it may be.
        let mut builder = ClusterClientBuilder::new(nodes)
            .connection_timeout(options.connect_timeout)
            .response_timeout(options.answer_timeout)
            .retries(4)
            .min_retry_wait(20)
            .max_retry_wait(200);
        if let Some(certificates) = certificates {
            builder = builder.certs(certificates);
        }
        Ok(Self::Cluster(builder.build().map_err(refused)?))
    }

    async fn connect(&self) -> Result<Connection, RedisError> {
        Ok(match self {
            Self::Server(client, config) => Connection::Server(
                client
                    .get_multiplexed_async_connection_with_config(config)
                    .await?,
            ),
            Self::Cluster(client) => Connection::Cluster(client.get_async_connection().await?),
        })
    }
}

/// The way to the server, and what is known of it.
pub(super) struct Link {
    maker: Maker,
    options: RedisOptions,
    /// What the server is asked about, so that a cluster asks the right node.
    some_key: String,
    current: ArcSwapOption<Connection>,
    /// The keeper is to look at once.
    doubted: Notify,
    /// There is a connection again.
    connected: Notify,
    pub(super) clock: ServerClock,
    pub(super) health: Arc<Health>,
    /// Which run of which server answered last.
    run: Mutex<String>,
    refused_at: Mutex<Option<Instant>>,
}

impl Link {
    pub(super) fn new(options: RedisOptions, layout: &Layout) -> Result<Arc<Self>, RedisOpenError> {
        if options.nodes.iter().any(|node| node.scheme() == "rediss") {
            use_ring();
        }
        let link = Arc::new(Self {
            maker: Maker::new(&options)?,
            options,
            some_key: layout.index(remora_core::Table::Sessions),
            current: ArcSwapOption::empty(),
            doubted: Notify::new(),
            connected: Notify::new(),
            clock: ServerClock::default(),
            health: Arc::new(Health::new()),
            run: Mutex::default(),
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
            if self.health.has_failed_for(patience) {
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

    /// A call has failed in a way that makes the connection doubtful.
    pub(super) fn doubt(&self, error: &RedisError) {
        if self.health.failed() {
            let (server, error) = (self.options.shown(), reason(error));
            tracing::warn!(server, error, "the storage does not answer");
        }
        self.doubted.notify_one();
    }

    /// A server that works has refused a call. Said now and then, not with every call.
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
    async fn reach(&self) -> Result<(), RedisError> {
        let patience = self.options.connect_timeout + self.options.answer_timeout;
        let made = timeout(patience, self.maker.connect()).await;
        let mut connection = made.map_err(|_| timed_out())??;
        self.look(&mut connection).await?;
        self.current.store(Some(Arc::new(connection)));
        self.connected.notify_waiters();
        Ok(())
    }

    /// Asks the server for its time and its name.
    async fn look(&self, connection: &mut Connection) -> Result<(), RedisError> {
        let asked = Instant::now();
        let look = LOOK.call(&[&self.some_key], &[]);
        let answer = timeout(self.options.answer_timeout, look.send(connection)).await;
        let answer = answer.map_err(|_| timed_out())??;
        let (seconds, micros, run): (u64, u64, String) = redis::from_redis_value(answer)?;
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
        if self.health.recovered() || (first && other) {
            tracing::info!(server, "the storage answers");
        }
        Ok(())
    }
}

/// Watches over a link for as long as it is in use.
async fn keep(link: Weak<Link>) {
    let mut pause = BACKOFF.0;
    loop {
        let Some(link) = link.upgrade() else { return };
        let looked = match link.connection_now() {
            Some(mut connection) => link.look(&mut connection).await,
            None => link.reach().await,
        };
        let Err(error) = looked else {
            pause = BACKOFF.0;
            let waits = async move {
                tokio::select! {
                    () = link.doubted.notified() => {}
                    () = sleep(LOOK_EVERY) => {}
                }
            };
            waits.await;
            continue;
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

/// rustls wants to be told by whose hand it works where a program has brought several; ours is ring.
fn use_ring() {
    let provider = tokio_rustls::rustls::crypto::ring::default_provider();
    // An error means that the program has chosen already.
    let _ = provider.install_default();
}
