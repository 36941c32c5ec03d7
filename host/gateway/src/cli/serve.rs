//! `remora serve`

use std::path::Path;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Failure;
use crate::config::{self, ConfigError};
use crate::server::Server;

pub(super) async fn serve(path: &Path) -> Result<(), Failure> {
    let file = config::read(path)?;
    let wrong = |error| ConfigError::Build {
        path: path.display().to_string(),
        error,
    };
    let addresses = file.addresses().map_err(wrong)?;
    let gateway = file.build().await.map_err(wrong)?;
    // Before the first client can connect: a signal from now on means a graceful stop.
    let (mut terminate, mut interrupt) =
        (on(SignalKind::terminate())?, on(SignalKind::interrupt())?);
    if let Some(caveat) = file.caveat() {
        tracing::warn!("{caveat}");
    }
    let server = Server::bind(gateway, addresses.listen, addresses.admin).await?;
    tracing::info!(listen = %server.address()?, "ready");
    if let Some(admin) = server.admin_address()? {
        tracing::info!(%admin, "admin interface");
    }
    let stop = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!(
            "stopping; requests in flight get {:?}",
            addresses.shutdown_after
        );
    };
    let drained = server.run(stop, addresses.shutdown_after);
    let (mut terminate, mut interrupt) =
        (on(SignalKind::terminate())?, on(SignalKind::interrupt())?);
    tokio::pin!(drained);
    let mut signals = 0;
    loop {
        tokio::select! {
            all = &mut drained => {
                if !all {
                    tracing::warn!("some requests did not finish in time");
                }
                return Ok(());
            }
            // The first one is the server's, to stop gracefully; the second ends it at once.
            _ = terminate.recv() => signals += 1,
            _ = interrupt.recv() => signals += 1,
        }
        if signals > 1 {
            tracing::warn!("stopping at once");
            return Ok(());
        }
    }
}

fn on(kind: SignalKind) -> std::io::Result<Signal> {
    signal(kind)
}
