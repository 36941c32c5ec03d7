//! `remora stats`, `sessions`, `proxies`: what a running gateway says.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use comfy_table::Table;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Failure, table};
use crate::admin::answers::{Proxy, Session, Stats};
use crate::config;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The largest answer that is read: a million sessions are 200 MB.
const MAX_ANSWER: usize = 1 << 30;

/// Whom to ask, and how to show the answer.
pub(super) struct Ask<'a> {
    pub(super) config: &'a Path,
    pub(super) admin: Option<SocketAddr>,
    pub(super) json: bool,
}

impl Ask<'_> {
    pub(super) async fn stats(&self) -> Result<(), Failure> {
        self.show("/stats", |stats: Stats| {
            let mut rows = table(["proxies", "healthy", "open", "live sessions", "storage"]);
            let Stats {
                total,
                healthy,
                open,
                active_sessions,
                storage,
            } = stats;
            let [a, b, c, d] = [total, healthy, open, active_sessions].map(|n| n.to_string());
            rows.add_row([a, b, c, d, storage.to_string()]);
            rows
        })
        .await
    }

    pub(super) async fn sessions(&self) -> Result<(), Failure> {
        self.show("/sessions", |sessions: Vec<Session>| {
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
        self.show("/proxies", |proxies: Vec<Proxy>| {
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

    async fn show<T: DeserializeOwned>(
        &self,
        path: &str,
        rows: impl FnOnce(T) -> Table,
    ) -> Result<(), Failure> {
        let answer = timeout(PATIENCE, self.get(path)).await;
        let answer = answer.map_err(|_| format!("no answer within {PATIENCE:?}"))??;
        if self.json {
            print!("{answer}");
            return Ok(());
        }
        let answer = serde_json::from_str(&answer)
            .map_err(|error| format!("this is not remora's admin interface: {error}"))?;
        println!("{}", rows(answer));
        Ok(())
    }

    async fn get(&self, path: &str) -> Result<String, Failure> {
        // Where an address is given, the file need not be there.
        let file = match self.admin {
            Some(_) if !self.config.exists() => None,
            _ => Some(config::read(self.config)?),
        };
        let admin = self.admin.or(file.as_ref().and_then(|file| file.admin));
        let Some(admin) = admin else {
            let config = self.config.display();
            return Err(format!("{config} has no `admin` address; give one with --admin").into());
        };
        let stream = TcpStream::connect(admin)
            .await
            .map_err(|error| format!("no gateway answers on {admin}: {error}"))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let mut request = Request::get(path).header(header::HOST, admin.to_string());
        // The token is for the gateway of the file, not for whoever listens somewhere else.
        let own = file.as_ref().filter(|file| file.admin == Some(admin));
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
