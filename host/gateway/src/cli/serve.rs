//! `remora serve`

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::{check, reload};
use crate::admin::Admin;
use crate::config::{Config, File};
use crate::server::Server;
use crate::stdout::Failure;
use crate::tenants::{self, Tenants};

/// What the process needs beside the files of its connections.
const SPARE_FILES: u64 = 256;

/// How long the first client may have to wait for tenants' plugins: for those whose code is kept already. What has to be
/// compiled, or does not end, costs its own tenant.
const PLUGINS: Duration = Duration::from_secs(2);

/// How long the last verdicts may take on their way to the storage.
const SETTLE: Duration = Duration::from_secs(5);

pub(super) async fn serve(path: &Path, config: Config) -> Result<(), Failure> {
    let config = Arc::new(config);
    let (addresses, mut limits) = (config.addresses, config.limits);
    let admin = Admin::from(&config.admin);
    // Before a plugin is compiled or a server is looked for: a signal from now on means what it does later.
    let mut signals = Signals::new()?;
    // A plugin of the operator's own is compiled by this process, for as long as it takes.
    let made = tokio::spawn({
        let config = config.clone();
        async move { Tenants::of(&config).await }
    });
    let tenants = tokio::select! {
        made = made => Arc::new(made?.map_err(|error| check::of(path, error))?),
        () = signals.stop() => {
            tracing::info!("stopping before the first client was served");
            return Ok(());
        }
    };
    let asked_for = config.file.limits.max_connections.is_some();
    limits.max_connections = allow_files(limits.max_connections, asked_for);
    let watching = tokio::select! {
        watching = start_tenants(path, &config, &tenants) => watching?,
        () = signals.stop() => {
            tracing::info!("stopping before the first client was served");
            return Ok(());
        }
    };
    for caveat in config.file.caveats() {
        tracing::warn!("{caveat}");
    }
    let admin = addresses.admin.map(|address| (address, admin));
    let server = Server::bind(tenants.clone(), limits, addresses.listen, admin)?;
    tracing::info!(listen = %server.address()?, "ready");
    if let Some(admin) = server.admin_address()? {
        tracing::info!(%admin, "admin interface");
    }
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async {
        let _ = stopped.await;
    };
    let patience = addresses.shutdown_after;
    let (cut, cutting) = oneshot::channel::<()>();
    let until_cut = async move {
        let _ = timeout(patience, cutting).await;
    };
    let mut running = tokio::spawn(server.run(stopped, until_cut));
    signals
        .until_stop(path, &config.file, &tenants, &watching)
        .await;
    tracing::info!("stopping; requests in flight get {patience:?}");
    drop(stop);
    let all = tokio::select! {
        all = &mut running => all?,
        // The first one is the server's, to stop gracefully; the second ends it at once.
        () = signals.stop() => {
            drop(cut);
            running.await?
        }
    };
    if !all {
        tracing::warn!("some requests did not finish in time, and were ended");
    }
    // What was said of the last requests has to reach the storage.
    if timeout(SETTLE, tenants.settled()).await.is_err() {
        tracing::warn!("some verdicts did not reach the storage in time");
    }
    tracing::info!("stopped");
    Ok(())
}

/// The tenants, before the first client comes. Answers with a way to have their directory read again, where there is
/// one.
async fn start_tenants(
    path: &Path,
    config: &Config,
    tenants: &Arc<Tenants>,
) -> Result<Option<mpsc::Sender<()>>, Failure> {
    if !config.file.has_tenants() {
        return Ok(None);
    }
    let start = Instant::now();
    let (wanted, watcher) = tenants::first(config).map_err(|error| check::of(path, error))?;
    tenants.become_these(wanted).await;
    if timeout(PLUGINS, tenants.made()).await.is_err() {
        let awaited = tenants.directory().awaited().count();
        tracing::warn!(
            awaited,
            "some tenants' plugins are not ready; their users get 503 until they are"
        );
    }
    let watching = if let Some(watcher) = watcher {
        // A file that is no good costs its tenant, and nobody else.
        let (again, asked) = mpsc::channel(1);
        tokio::spawn(tenants::watch(tenants.clone(), watcher, asked));
        Some(again)
    } else {
        // What is wrong in this very file keeps it from starting. A plugin is a file of its tenant's.
        let directory = tenants.directory();
        let mut troubles = directory.troubles().iter();
        if let Some((name, trouble)) = troubles.find(|(name, _)| !directory.is_broken(name)) {
            return Err(format!("{}: tenant `{name}`: {trouble}", path.display()).into());
        }
        None
    };
    let directory = tenants.directory();
    let (count, refused) = (directory.tenants().len(), directory.troubles().len());
    let took = start.elapsed();
    tracing::info!(tenants = count, refused, ?took, "tenants are there");
    Ok(watching)
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
    async fn until_stop(
        &mut self,
        path: &Path,
        started_with: &File,
        tenants: &Arc<Tenants>,
        watching: &Option<mpsc::Sender<()>>,
    ) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hang_up.recv() => match reload::read(path, started_with).await {
                    Ok(new) => {
                        if let Err(error) = reload::apply(&new, tenants).await {
                            tracing::error!(%error, "the file was read again, and not all of it could be applied");
                        }
                        if let Some(watching) = watching {
                            // One that waits is enough.
                            let _ = watching.try_send(());
                        }
                    }
                    Err(error) => {
                        tracing::error!(%error, "the file was read again and is not accepted; nothing has changed");
                    }
                },
            }
        }
    }
}

/// A connection of a client takes a file descriptor, and another one on its way out. Answers for how many connections
/// there is room: as many as the file asks for, whatever the system says; without a word of it, as many as fit.
fn allow_files(connections: usize, asked_for: bool) -> usize {
    let wanted = u64::try_from(connections)
        .unwrap_or(u64::MAX)
        .saturating_mul(2)
        .saturating_add(SPARE_FILES);
    match rlimit::increase_nofile_limit(wanted) {
        Ok(got) if got < wanted && asked_for => {
            tracing::warn!(
                "`limits.max_connections` wants {wanted} open files, the system allows {got}; see `ulimit -n`"
            );
            connections
        }
        Ok(got) if got < wanted => {
            let fit = usize::try_from(got.saturating_sub(SPARE_FILES) / 2).unwrap_or(connections);
            let fit = fit.max(1);
            tracing::info!(
                "room for {fit} connections of clients: the system allows {got} open files (`ulimit -n`)"
            );
            fit
        }
        Ok(_) => connections,
        Err(error) => {
            tracing::warn!(%error, "cannot ask for more open files");
            connections
        }
    }
}
