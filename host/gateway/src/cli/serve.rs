//! `remora serve`

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::{Failure, reload};
use crate::config::{ConfigError, File};
use crate::gateway::Gateway;
use crate::server::Server;

/// What the process needs beside the files of its connections.
const SPARE_FILES: u64 = 256;

/// How long the last verdicts may take on their way to the storage.
const SETTLE: Duration = Duration::from_secs(5);

pub(super) async fn serve(path: &Path, file: File) -> Result<(), Failure> {
    let wrong = |error| ConfigError::Build {
        path: path.display().to_string(),
        error,
    };
    let addresses = file.addresses().map_err(wrong)?;
    let limits = file.limits().map_err(wrong)?;
    let admin = file.admin().map_err(wrong)?;
    let gateway = Arc::new(file.build().await.map_err(wrong)?);
    // Before the first client can connect: a signal from now on means a graceful stop.
    let mut signals = Signals::new()?;
    allow_files(limits.max_connections);
    if let Some(caveat) = file.caveat() {
        tracing::warn!("{caveat}");
    }
    let admin = addresses.admin.map(|address| (address, admin));
    let server = Server::bind(gateway.clone(), limits, addresses.listen, admin)?;
    tracing::info!(listen = %server.address()?, "ready");
    if let Some(admin) = server.admin_address()? {
        tracing::info!(%admin, "admin interface");
    }
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async {
        let _ = stopped.await;
    };
    let mut running = tokio::spawn(server.run(stopped, addresses.shutdown_after));
    signals.until_stop(path, file, &gateway).await;
    let patience = addresses.shutdown_after;
    tracing::info!("stopping; requests in flight get {patience:?}");
    drop(stop);
    tokio::select! {
        all = &mut running => {
            if !all? {
                tracing::warn!("some requests did not finish in time");
            }
        }
        // The first one is the server's, to stop gracefully; the second ends it at once.
        () = signals.stop() => {
            tracing::warn!("stopping at once");
            return Ok(());
        }
    }
    // What was said of the last requests has to reach the storage.
    if timeout(SETTLE, gateway.settled()).await.is_err() {
        tracing::warn!("some verdicts did not reach the storage in time");
    }
    Ok(())
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Waits for the signal to stop; until then, SIGHUP reads the file again.
    async fn until_stop(&mut self, path: &Path, mut file: File, gateway: &Gateway) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hang_up.recv() => match reload::read(path, &file).await {
                    Ok(new) => {
                        if let Err(error) = reload::apply(path, &file, &new, gateway).await {
                            tracing::error!(%error, "the file was read again, and not all of it could be applied");
                        }
                        file = new;
                    }
                    Err(error) => {
                        tracing::error!(%error, "the file was read again and is not accepted; nothing has changed");
                    }
                },
            }
        }
    }
}

/// A connection of a client takes a file descriptor, and another one on its way out.
fn allow_files(connections: usize) {
    let wanted = u64::try_from(connections)
        .unwrap_or(u64::MAX)
        .saturating_mul(2)
        .saturating_add(SPARE_FILES);
    match rlimit::increase_nofile_limit(wanted) {
        Ok(got) if got < wanted => tracing::warn!(
            "`limits.max_connections` wants {wanted} open files, the system allows {got}; see `ulimit -n`"
        ),
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "cannot ask for more open files"),
    }
}
