//! The `remora` binary as a library: a sticky rotating forward proxy around [`remora_host`].
//!
//! | module | what it does |
//! |---|---|
//! | [`config`] | reads `remora.toml` and reports errors in it |
//! | [`build`] | from a checked configuration to its default pool |
//! | `storage` | the storage of each pool, opened |
//! | [`server`] | the listeners for clients and operators, started and stopped together |
//! | `listener` | accepted connections, their requests and tunnels |
//! | `router` | the way of a request to its pool |
//! | `auth` | authentication of clients; session, tags and time to live of a request |
//! | `password` | verification of passwords |
//! | `admission` | limits of a tenant |
//! | [`tenants`] | the pools that are served, and their users |
//! | [`gateway`] | a pool and its state while it is served |
//! | `attempt` | the attempts of a request, through one proxy after the other |
//! | `lease` | the lease of an attempt: given back once, observed |
//! | [`upstream`] | connections to upstream proxies: HTTP, TLS, SOCKS; kept for reuse |
//! | `outgoing` | a request as it is passed on |
//! | `upload` | the body of a request, and its progress |
//! | `forward` | plain HTTP: the response on its way back |
//! | `tunnel` | CONNECT: bytes in both directions |
//! | `metrics` | counters for Prometheus |
//! | `record` | the file that every decision is written to |
//! | `headers` | headers that are not passed on |
//! | `stdout` | standard output of commands |
//! | `log_limiter` | a limiter for log lines that clients cause |
//! | `reply` | error responses |
//! | [`admin`] | `/stats`, `/sessions`, `/proxies`, `/metrics`, `/healthz` |
//! | [`envoy`] | the configuration of an Envoy with the same decisions in it |
//! | [`demo`] | a pool, an origin and a client on loopback, to watch it work |

#![forbid(unsafe_code)]
// `stdout::say` does not panic where its reader is gone.
#![warn(clippy::print_stdout)]

pub mod admin;
mod admission;
mod attempt;
mod auth;
pub mod build;
pub mod cli;
pub mod config;
pub mod demo;
pub mod envoy;
mod forward;
#[doc(hidden)]
pub mod fuzz;
pub mod gateway;
mod headers;
mod lease;
mod listener;
mod log_limiter;
mod metrics;
mod outgoing;
mod password;
mod record;
mod reply;
mod router;
pub mod server;
mod stdout;
mod storage;
mod store;
pub mod tenants;
mod tunnel;
mod upload;
pub mod upstream;
