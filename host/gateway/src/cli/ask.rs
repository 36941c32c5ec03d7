//! `remora stats`, `sessions`, `proxies`, `tenants`: what a running gateway says.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use comfy_table::Table;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::admin::answers::{Proxy, Session, Stats, TenantRow};
use crate::config;
use crate::stdout::{Failure, say, table};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a gateway that was just started may take until it listens, and how often it is looked for until then.
const START: Duration = Duration::from_secs(2);
const AGAIN: Duration = Duration::from_millis(50);

/// What is asked of a pool.
const STATS: &str = "/stats";
const SESSIONS: &str = "/sessions";
const PROXIES: &str = "/proxies";

/// The largest answer that is read: a million sessions are 200 MB.
const MAX_ANSWER: usize = 1 << 30;

/// Whom to ask, and how to show the answer.
pub(super) struct Ask<'a> {
    pub(super) config: &'a Path,
    pub(super) admin: Option<SocketAddr>,
    pub(super) tenant: Option<&'a str>,
    pub(super) json: bool,
}

impl Ask<'_> {
    pub(super) async fn stats(&self) -> Result<(), Failure> {
        self.show(&self.of_pool(STATS), |stats: Stats| {
            let mut rows = table(["proxies", "healthy", "open", "live sessions", "storage"]);
            let Stats {
                total,
                healthy,
                open,
                active_sessions,
                storage,
            } = stats;
            let counts = [total, healthy, open, active_sessions];
            let [a, b, c, d] = counts.map(|n| n.map_or("?".into(), |n| n.to_string()));
            rows.add_row([a, b, c, d, storage.to_string()]);
            rows
        })
        .await
    }

    pub(super) async fn sessions(&self) -> Result<(), Failure> {
        self.show(&self.of_pool(SESSIONS), |sessions: Vec<Session>| {
            let mut rows = table(["key", "proxy", "bound at", "expires at"]);
            for session in sessions {
                let proxy = session.proxy.unwrap_or_else(|| "(removed)".into());
                rows.add_row([session.key, proxy, session.bound_at, session.expires_at]);
            }
            rows
        })
        .await
    }

    pub(super) async fn proxies(&self) -> Result<(), Failure> {
        self.show(&self.of_pool(PROXIES), |proxies: Vec<Proxy>| {
            let mut rows = table(["proxy", "weight", "tags", "state", "breaker", "id"]);
            for proxy in proxies {
                let state = match (proxy.healthy, proxy.available) {
                    (false, _) => "off",
                    (true, true) => "available",
                    (true, false) => "refused",
                };
                let breaker = match (&proxy.until, proxy.failures) {
                    (Some(until), _) => format!("{} until {until}", proxy.breaker),
                    (None, 0) => proxy.breaker,
                    (None, failures) => format!("{}, {failures} failed", proxy.breaker),
                };
                rows.add_row([
                    proxy.url,
                    proxy.weight.to_string(),
                    proxy.tags.join(", "),
                    state.to_owned(),
                    breaker,
                    proxy.id.to_string(),
                ]);
            }
            rows
        })
        .await
    }

    pub(super) async fn tenants(&self) -> Result<(), Failure> {
        self.show("/tenants", |tenants: Vec<TenantRow>| {
            let mut rows = table([
                "tenant",
                "proxies",
                "healthy",
                "sessions",
                "in flight",
                "plugin",
                "refused",
            ]);
            for tenant in tenants {
                let counts = tenant.counts.map(|c| [c.proxies, c.healthy, c.sessions]);
                let counts = match counts {
                    Some(counts) => counts.map(|n| n.to_string()),
                    None => ["?", "?", "?"].map(str::to_owned),
                };
                let [proxies, healthy, sessions] = counts;
                let plugin = tenant.plugin.unwrap_or_else(|| "built in".into());
                let plugin = match tenant.plugin_traps {
                    0 => plugin,
                    traps => format!("{plugin}, {traps} traps"),
                };
                rows.add_row([
                    tenant.name,
                    proxies,
                    healthy,
                    sessions,
                    tenant.in_flight.to_string(),
                    plugin,
                    tenant.error.unwrap_or_default(),
                ]);
            }
            rows
        })
        .await
    }

    /// The path for the pool that is asked about.
    fn of_pool(&self, path: &str) -> String {
        match self.tenant {
            Some(tenant) => {
                let tenant = utf8_percent_encode(tenant, NON_ALPHANUMERIC);
                format!("/tenants/{tenant}{path}")
            }
            None => path.to_owned(),
        }
    }

    async fn show<T: DeserializeOwned>(
        &self,
        path: &str,
        rows: impl FnOnce(T) -> Table,
    ) -> Result<(), Failure> {
        let answer = timeout(PATIENCE, self.get(path)).await;
        let answer = answer.map_err(|_| format!("no answer within {PATIENCE:?}"))??;
        if self.json {
            return Ok(say(answer.trim_end())?);
        }
        let answer = serde_json::from_str(&answer)
            .map_err(|error| format!("this is not remora's admin interface: {error}"))?;
        Ok(say(rows(answer))?)
    }

    async fn get(&self, path: &str) -> Result<String, Failure> {
        // Where an address is given, the file need not be there.
        let file = match self.admin {
            Some(_) if !self.config.exists() => None,
            _ => Some(config::load(self.config)?.into_file()?),
        };
        let admin = self.admin.or(file.as_ref().and_then(|file| file.admin));
        let Some(admin) = admin else {
            let config = self.config.display();
            return Err(format!("{config} has no `admin` address; give one with --admin").into());
        };
        let own = file.as_ref().filter(|file| file.admin == Some(admin));
        let of_pool = [STATS, SESSIONS, PROXIES].contains(&path);
        if of_pool && own.is_some_and(|file| !file.has_own_pool()) {
            let config = self.config.display();
            let line = format!(
                "there is no pool at the top of {config}; say whose with --tenant NAME (`remora tenants` lists them)"
            );
            return Err(line.into());
        }
        let stream = connect(admin)
            .await
            .map_err(|error| format!("no gateway answers on {admin}: {error}"))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let mut request = Request::get(path).header(header::HOST, admin.to_string());
        // The token is for the gateway of the file, not for whoever listens somewhere else.
        if let Some(token) = own.and_then(|file| file.admin_token.as_ref()) {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.0));
        }
        let request = request.body(Empty::<Bytes>::new())?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER);
        let body = body.collect().await?.to_bytes();
        let text = String::from_utf8_lossy(&body).into_owned();
        if !status.is_success() {
            return Err(text.trim_start_matches("remora: ").trim().into());
        }
        Ok(text)
    }
}

/// Connects. `remora serve & remora stats` asks before there is anybody to answer: what is refused is tried again.
async fn connect(admin: SocketAddr) -> io::Result<TcpStream> {
    let end = Instant::now() + START;
    loop {
        match TcpStream::connect(admin).await {
            Err(error)
                if error.kind() == io::ErrorKind::ConnectionRefused && Instant::now() < end =>
            {
                sleep(AGAIN).await;
            }
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use remora_test_support::ports::free_port;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn a_gateway_that_is_about_to_listen_is_waited_for() {
        let admin = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let listening = async {
            sleep(Duration::from_millis(200)).await;
            TcpListener::bind(admin).await
        };
        let (connected, listening) = tokio::join!(connect(admin), listening);
        assert!(connected.is_ok() && listening.is_ok(), "{connected:?}");
    }

    #[tokio::test]
    async fn one_that_is_not_there_is_given_up() {
        let admin = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let error = connect(admin).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
