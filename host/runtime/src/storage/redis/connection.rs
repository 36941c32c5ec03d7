//! How a connection is made, to one server or to a cluster.

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::cluster_async::ClusterConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, Pipeline, RedisError, RedisFuture,
    TlsCertificates, Value,
};

use super::RedisOpenError;
use super::options::RedisOptions;
use super::verdict::reason;

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

/// What connections are made from.
pub(super) enum Maker {
    Server(Client, AsyncConnectionConfig),
    Cluster(ClusterClient),
}

impl Maker {
    pub(super) fn new(options: &RedisOptions) -> Result<Self, RedisOpenError> {
        if options.nodes.iter().any(|node| node.scheme() == "rediss") {
            use_ring();
        }
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

    pub(super) async fn connect(&self) -> Result<Connection, RedisError> {
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

/// rustls wants to be told by whose hand it works where a program has brought several; ours is ring.
fn use_ring() {
    let provider = tokio_rustls::rustls::crypto::ring::default_provider();
    // An error means that the program has chosen already.
    let _ = provider.install_default();
}
