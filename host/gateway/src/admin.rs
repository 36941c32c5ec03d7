//! What an operator can ask: `/stats`, `/sessions`, `/healthz`.

use std::time::SystemTime;

use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use remora_host::{Error, ProxyManager};
use serde::Serialize;

use crate::reply::{self, Body};

/// `GET /stats`
#[derive(Debug, Serialize)]
struct Stats {
    total: usize,
    healthy: usize,
    open: usize,
    active_sessions: usize,
}

/// One entry of `GET /sessions`.
#[derive(Debug, Serialize)]
struct Session {
    key: String,
    proxy_id: uuid::Uuid,
    /// Without credentials; `null` once the proxy has been removed.
    proxy: Option<String>,
    bound_at: String,
    expires_at: String,
}

/// `GET /healthz`
#[derive(Debug, Serialize)]
struct Health {
    status: &'static str,
}

/// Answers one request.
pub(crate) async fn serve<T>(manager: &ProxyManager, request: &Request<T>) -> Response<Body> {
    let path = request.uri().path();
    if !matches!(path, "/stats" | "/sessions" | "/healthz") {
        return reply::text(
            StatusCode::NOT_FOUND,
            "not here; try /stats, /sessions or /healthz",
        );
    }
    if request.method() != Method::GET {
        let mut response = reply::text(StatusCode::METHOD_NOT_ALLOWED, "only GET");
        let get = HeaderValue::from_static("GET");
        response.headers_mut().insert(header::ALLOW, get);
        return response;
    }
    let answer = match path {
        "/stats" => stats(manager).await,
        "/sessions" => sessions(manager).await,
        _ => healthz(manager).await,
    };
    answer.unwrap_or_else(|error| reply::text(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()))
}

async fn stats(manager: &ProxyManager) -> Result<Response<Body>, Error> {
    let stats = manager.pool_stats().await?;
    Ok(json(
        StatusCode::OK,
        &Stats {
            total: stats.total,
            healthy: stats.healthy,
            open: stats.open,
            active_sessions: stats.active_sessions,
        },
    ))
}

async fn sessions(manager: &ProxyManager) -> Result<Response<Body>, Error> {
    let mut sessions: Vec<Session> = manager
        .sessions()
        .await?
        .into_iter()
        .map(|session| Session {
            key: session.key,
            proxy_id: session.proxy_id,
            proxy: session.proxy_url,
            bound_at: rfc3339(session.bound_at),
            expires_at: rfc3339(session.expires_at),
        })
        .collect();
    sessions.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(json(StatusCode::OK, &sessions))
}

async fn healthz(manager: &ProxyManager) -> Result<Response<Body>, Error> {
    Ok(if manager.is_available().await? {
        json(StatusCode::OK, &Health { status: "ok" })
    } else {
        let status = "no proxy is available";
        json(StatusCode::SERVICE_UNAVAILABLE, &Health { status })
    })
}

fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

fn json<T: Serialize>(status: StatusCode, value: &T) -> Response<Body> {
    match serde_json::to_string(value) {
        Ok(text) => {
            let mut response = Response::new(reply::full(text + "\n"));
            *response.status_mut() = status;
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(header::CONTENT_TYPE, json);
            response
        }
        Err(error) => reply::text(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}
