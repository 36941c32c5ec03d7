//! The server: the listeners for clients and for operators, started and stopped together.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use crate::admin::Admin;
use crate::config::Limits;
use crate::listener::{Accepted, Shutdown, accept, bind, client, requests};
use crate::tenants::Tenants;

/// How often idle connections to upstream proxies are swept.
const SWEEP: Duration = Duration::from_secs(20);

/// Limits for the connections of operators.
const OPERATORS: Limits = Limits {
    max_connections: 64,
    max_header_bytes: 16 << 10,
    client: Duration::from_secs(30),
    idle: Duration::from_secs(30),
};

/// All that is served, listening.
#[derive(Debug)]
pub struct Server {
    tenants: Arc<Tenants>,
    limits: Limits,
    listener: TcpListener,
    admin: Option<(TcpListener, Admin)>,
}

impl Server {
    /// Starts to listen, and to record where that is asked for.
    ///
    /// # Errors
    ///
    /// The system's error, with the address or the file that it is about.
    pub fn bind(
        tenants: Arc<Tenants>,
        limits: Limits,
        listen: SocketAddr,
        admin: Option<(SocketAddr, Admin)>,
    ) -> io::Result<Self> {
        let server = Self {
            tenants,
            limits,
            listener: bind(listen, limits.idle)?,
            admin: match admin {
                Some((address, admin)) => Some((bind(address, limits.idle)?, admin)),
                None => None,
            },
        };
        // Not before: a gateway that is started twice leaves no second file.
        server.tenants.begin_record().map_err(io::Error::other)?;
        Ok(server)
    }

    /// The address for clients.
    ///
    /// # Errors
    ///
    /// The system's error.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The address of the admin interface.
    ///
    /// # Errors
    ///
    /// The system's error.
    pub fn admin_address(&self) -> io::Result<Option<SocketAddr>> {
        let admin = self.admin.as_ref();
        admin.map(|(listener, _)| listener.local_addr()).transpose()
    }

    /// Serves until `stop`, then lets requests and tunnels finish until `cut`. Answers whether all of them did. The
    /// others have been ended, and their leases given back.
    pub async fn run(self, stop: impl Future<Output = ()>, cut: impl Future<Output = ()>) -> bool {
        let (stopping, graceful) = watch::channel(false);
        let shutdown = Shutdown {
            graceful,
            immediate: CancellationToken::new(),
        };
        let (router, limits) = (self.tenants.router().clone(), self.limits);
        let service = move |accepted: Accepted| client(accepted, router.clone(), limits);
        let clients = limits.max_connections;
        let proxied = tokio::spawn(accept(self.listener, clients, shutdown.clone(), service));
        let admin = self.admin.map(|(listener, admin)| {
            let tenants = self.tenants.clone();
            let service = move |accepted| operator(accepted, tenants.clone(), admin.clone());
            let operators = OPERATORS.max_connections;
            tokio::spawn(accept(listener, operators, shutdown.clone(), service))
        });
        let tenants = self.tenants;
        let sweeping = tokio::spawn(async move {
            let mut ticks = interval(SWEEP);
            loop {
                ticks.tick().await;
                tenants.sweep();
            }
        });
        stop.await;
        sweeping.abort();
        let _ = stopping.send(true);
        let drained = async {
            let _ = proxied.await;
            if let Some(admin) = admin {
                let _ = admin.await;
            }
        };
        let mut drained = pin!(drained);
        tokio::select! {
            () = drained.as_mut() => return true,
            () = cut => shutdown.immediate.cancel(),
        }
        drained.await;
        false
    }
}

/// Serves a connection to the admin interface.
async fn operator(accepted: Accepted, tenants: Arc<Tenants>, admin: Admin) {
    let _slot = accepted.slot;
    let serve = |request| {
        let (tenants, admin) = (tenants.clone(), admin.clone());
        async move { admin.serve(&tenants, request).await }
    };
    requests(accepted.stream, OPERATORS, accepted.stopped, serve).await;
}
