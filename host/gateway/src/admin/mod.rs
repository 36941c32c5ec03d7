//! What an operator can ask and do, as JSON over HTTP.
//!
//! | request | what it does |
//! |---|---|
//! | `GET /healthz` | 200 while a proxy can be had, 503 otherwise |
//! | `GET /stats` | the pool in numbers |
//! | `GET /metrics` | counters for Prometheus |
//! | `GET /sessions`, `DELETE /sessions/KEY` | the live sessions; end one |
//! | `GET /proxies`, `POST /proxies`, `DELETE /proxies/ID` | the pool; add to it, take out of it |
//! | `GET /tenants` | every tenant in numbers, and why a change of one was refused |
//! | `/tenants/NAME/…` | the same of a tenant's pool, but for the metrics |

pub(crate) mod access;
pub(crate) mod answers;
mod tenants;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body as HttpBody, Bytes};
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use percent_encoding::percent_decode_str;
use remora_config::ProxyEntry;
use remora_host::Error;
use serde::Serialize;
use uuid::Uuid;

use crate::config::{proxies, unknown};
use crate::gateway::Gateway;
use crate::reply;
use crate::tenants::Tenants;
pub use access::{Admin, Token};
use answers::{Added, Health, Proxy, Session, Stats};

/// The most bytes of a request's body.
const MAX_BODY: usize = 1 << 20;

/// What a path stands for.
enum Place<'a> {
    Healthz,
    Stats,
    Metrics,
    Sessions,
    Session(&'a str),
    Proxies,
    Proxy(&'a str),
    Tenants,
}

impl<'a> Place<'a> {
    fn of(path: &'a str) -> Option<Self> {
        Some(match path {
            "/healthz" => Self::Healthz,
            "/stats" => Self::Stats,
            "/metrics" => Self::Metrics,
            "/sessions" => Self::Sessions,
            "/proxies" => Self::Proxies,
            "/tenants" => Self::Tenants,
            _ => match path.strip_prefix('/')?.split_once('/')? {
                ("sessions", key) if !key.is_empty() => Self::Session(key),
                ("proxies", id) if !id.is_empty() => Self::Proxy(id),
                _ => return None,
            },
        })
    }

    /// Whether each pool has one, rather than the gateway.
    fn is_of_a_pool(&self) -> bool {
        !matches!(self, Self::Metrics | Self::Tenants)
    }

    fn methods(&self) -> &'static str {
        match self {
            Self::Session(_) | Self::Proxy(_) => "DELETE",
            Self::Proxies => "GET, HEAD, POST",
            _ => "GET, HEAD",
        }
    }
}

/// Why a request is not answered as it was meant.
enum Refused {
    Status(StatusCode, String),
    Host(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Host(error)
    }
}

type Answer = Result<Response<Full<Bytes>>, Refused>;

fn bad(line: impl Into<String>) -> Refused {
    Refused::Status(StatusCode::BAD_REQUEST, line.into())
}

impl Admin {
    /// Answers one request.
    pub(crate) async fn serve<B>(
        &self,
        tenants: &Tenants,
        request: Request<B>,
    ) -> Response<Full<Bytes>>
    where
        B: HttpBody<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let answer = match self.answer(tenants, request).await {
            Ok(answer) => return answer,
            Err(refused) => refused,
        };
        match answer {
            Refused::Status(status, line) => {
                let mut response = reply::text(status, &line);
                if status == StatusCode::UNAUTHORIZED {
                    let bearer = HeaderValue::from_static("Bearer realm=\"remora\"");
                    let headers = response.headers_mut();
                    headers.insert(header::WWW_AUTHENTICATE, bearer);
                }
                response
            }
            Refused::Host(error @ (Error::Invalid(_) | Error::Key(_))) => {
                reply::text(StatusCode::BAD_REQUEST, &error.to_string())
            }
            Refused::Host(error) => {
                reply::text(StatusCode::SERVICE_UNAVAILABLE, &error.to_string())
            }
        }
    }

    async fn answer<B>(&self, all: &Tenants, request: Request<B>) -> Answer
    where
        B: HttpBody<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let path = request.uri().path().to_owned();
        let (name, rest) = tenants::split(&path);
        let Some(place) = Place::of(rest).filter(|place| name.is_none() || place.is_of_a_pool())
        else {
            let line = "not here; try /stats, /sessions, /proxies, /tenants, /metrics or /healthz";
            return Err(Refused::Status(StatusCode::NOT_FOUND, line.to_owned()));
        };
        // Of what HEAD is answered, hyper leaves out the body.
        let method = match request.method() {
            &Method::HEAD => Method::GET,
            method => method.clone(),
        };
        let changes = method != Method::GET;
        let open = matches!((name, &place), (None, Place::Healthz)) || !(changes || self.guarded);
        if !open {
            self.check(&request)?;
        }
        match (&method, &place, name) {
            (&Method::GET, Place::Tenants, _) => return tenants::list(all).await,
            (&Method::GET, Place::Metrics, _) => return tenants::counters(all).await,
            (&Method::GET, Place::Healthz, None) => return tenants::health(all).await,
            _ => {}
        }
        let tenant = tenants::pick(all, name)?;
        let gateway = tenant.gateway();
        let manager = gateway.manager();
        match (&method, place) {
            (&Method::GET, Place::Healthz) => healthz(gateway).await,
            (&Method::GET, Place::Stats) => {
                let pool = match manager.pool_stats().await {
                    Ok(pool) => Some(pool),
                    // Since when is what somebody wants to know now.
                    Err(Error::Storage(_)) => None,
                    Err(error) => return Err(error.into()),
                };
                json(&Stats::new(pool, gateway.store().state()))
            }
            (&Method::GET, Place::Sessions) => {
                let sessions = manager.sessions().await?;
                let mut sessions: Vec<Session> = sessions.into_iter().map(Into::into).collect();
                sessions.sort_by(|a, b| a.key.cmp(&b.key));
                json(&sessions)
            }
            (&Method::DELETE, Place::Session(key)) => {
                let key = percent_decode_str(key).decode_utf8_lossy();
                found(
                    manager.end_session(&key).await?,
                    "no live session has this key",
                )
            }
            (&Method::GET, Place::Proxies) => {
                let proxies = manager.proxies().await?;
                json(&proxies.into_iter().map(Into::into).collect::<Vec<Proxy>>())
            }
            (&Method::POST, Place::Proxies) => {
                let ids = manager.add_proxies(added(&body(request).await?)?).await?;
                tracing::info!(tenant = name, ?ids, "proxies were added by an operator");
                json(&Added { ids })
            }
            (&Method::DELETE, Place::Proxy(id)) => {
                let id: Uuid = id.parse().map_err(|_| bad("a proxy's id is a UUID"))?;
                let there = gateway.remove_proxy(id).await?;
                tracing::info!(tenant = name, %id, there, "a proxy was removed by an operator");
                found(there, "no proxy has this id")
            }
            (_, place) => {
                let methods = place.methods();
                let mut response =
                    reply::text(StatusCode::METHOD_NOT_ALLOWED, &format!("only {methods}"));
                let allowed = HeaderValue::from_static(methods);
                response.headers_mut().insert(header::ALLOW, allowed);
                Ok(response)
            }
        }
    }

    fn check<B>(&self, request: &Request<B>) -> Result<(), Refused> {
        let Some(token) = &self.token else {
            let line = "changes need a token; set `admin_token` in the configuration";
            return Err(Refused::Status(StatusCode::FORBIDDEN, line.to_owned()));
        };
        if token.is_shown_in(request.headers()) {
            return Ok(());
        }
        let line = "show the token: `Authorization: Bearer TOKEN`";
        Err(Refused::Status(StatusCode::UNAUTHORIZED, line.to_owned()))
    }
}

async fn healthz(gateway: &Gateway) -> Answer {
    let (status, healthy) = match gateway.manager().is_available().await {
        Ok(true) => ("ok".to_owned(), true),
        Ok(false) => ("no proxy is available".to_owned(), false),
        Err(error) => (error.to_string(), false),
    };
    let mut response = json(&Health {
        status,
        storage: Some(gateway.store().state()),
        tenants: None,
        refused_tenants: None,
        awaited_tenants: None,
    })?;
    if !healthy {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    Ok(response)
}

fn openmetrics(text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    let kind =
        HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn found(found: bool, otherwise: &str) -> Answer {
    if !found {
        return Err(Refused::Status(StatusCode::NOT_FOUND, otherwise.to_owned()));
    }
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}

fn internal() -> Refused {
    let line = "the answer cannot be written".to_owned();
    Refused::Status(StatusCode::INTERNAL_SERVER_ERROR, line)
}

fn json<T: Serialize>(value: &T) -> Answer {
    let text = serde_json::to_string(value).map_err(|_| internal())?;
    let mut response = Response::new(Full::new((text + "\n").into()));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    Ok(response)
}

async fn body<B>(request: Request<B>) -> Result<Bytes, Refused>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let body = Limited::new(request.into_body(), MAX_BODY).collect().await;
    let body = body.map_err(|_| bad("the body broke off, or is larger than 1 MiB"))?;
    Ok(body.to_bytes())
}

/// The proxies that a body of `POST /proxies` stands for.
fn added(body: &[u8]) -> Result<Vec<remora_host::Proxy>, Refused> {
    let entry: ProxyEntry = serde_json::from_slice(body).map_err(|error| {
        // serde's own words may repeat the value, which may be a URL with a password; names are looked at.
        let (line, column) = (error.line(), error.column());
        let said = error.to_string();
        let said = said.split(" at line ").next().unwrap_or_default();
        match unknown(said) {
            Some(unknown) => bad(format!(
                "the body: {unknown} (line {line}, column {column})"
            )),
            None => bad(format!(
                "the body is not a proxy such as {{\"url\": \"http://host:port\"}} (line {line}, column {column})"
            )),
        }
    })?;
    let mut errors = Vec::new();
    let proxies = proxies(&entry, 0, &mut errors);
    match errors.first() {
        None => Ok(proxies),
        Some(first) => Err(bad(first.to_string())),
    }
}

/// For tests/fuzz: everything that somebody may be told of a body of `POST /proxies`.
pub(crate) fn added_as_told(body: &[u8]) -> String {
    match added(body) {
        Ok(proxies) => format!("{proxies:?}"),
        Err(Refused::Status(_, line)) => line,
        Err(Refused::Host(error)) => error.to_string(),
    }
}

/// For tests/fuzz: the tenant and the methods of a path.
pub(crate) fn place_as_told(path: &str) -> Option<(Option<&str>, &'static str)> {
    let (name, rest) = tenants::split(path);
    Some((name, Place::of(rest)?.methods()))
}
