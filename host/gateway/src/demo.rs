//! `remora demo`: watch it work, with nothing but this binary.
//!
//! Three upstream proxies and an origin run on loopback inside this process. Every proxy connects to the
//! origin from an address of its own, 127.0.0.11 to 127.0.0.13: that is the exit IP the origin sees, just as
//! in real life. The gateway is the one that `remora serve` runs, the client speaks real HTTP to it.

mod client;
mod exit;
mod origin;
mod scenes;
mod show;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::admin::Admin;
use crate::config;
use crate::server::Server;
use crate::stdout::{Failure, say};
use crate::tenants::Tenants;
use client::Client;
use exit::Exit;

/// What the scenes play with.
struct Stage {
    exits: Vec<Exit>,
    client: Client,
    admin: SocketAddr,
    json: bool,
}

/// Runs the demo. It checks what it shows.
///
/// # Errors
///
/// What could not be started, or what was not as it should be.
pub(crate) async fn run(json: bool) -> Result<(), Failure> {
    let origin = origin::start().await?;
    let mut exits = Vec::new();
    for last in 11..=13 {
        exits.push(Exit::start([127, 0, 0, last].into(), origin).await?);
    }
    let draft = config::draft("demo", &configuration(&exits));
    let config = draft.validate(config::Shell::Gateway)?;
    let addresses = config.addresses;
    let tenants = Arc::new(Tenants::of(&config).await?);
    let admin = addresses.admin.map(|address| (address, Admin::default()));
    let server = Server::bind(tenants, config.limits, addresses.listen, admin)?;
    let (gateway, admin) = (server.address()?, server.admin_address()?);
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(server.run(
        async {
            let _ = stopped.await;
        },
        tokio::time::sleep(Duration::from_secs(1)),
    ));
    let mut stage = Stage {
        exits,
        client: Client::new(gateway),
        admin: admin.ok_or("the demo has no admin interface")?,
        json,
    };
    if !json {
        let pool = show::pool(&stage.exits);
        say(format_args!(
            "remora is listening on {gateway}; its pool:\n\n{pool}"
        ))?;
    }
    let played = scenes::play(&mut stage).await;
    drop(stop);
    let _ = running.await;
    played
}

fn configuration(exits: &[Exit]) -> String {
    let mut text = r#"
listen = "127.0.0.1:0"
admin = "127.0.0.1:0"

[sticky]
mode = "domain"
ttl = "10m"

[[sticky.override]]
match = "short.example"
ttl = "1s"

[breaker]
open_threshold = 2
half_open_after = "2s"
"#
    .to_owned();
    for exit in exits {
        text += &format!("\n[[proxy]]\nurl = \"{}\"\n", exit.url());
    }
    text
}
