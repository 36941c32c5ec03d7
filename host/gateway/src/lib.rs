//! The `remora` binary as a library: a sticky rotating forward proxy around [`remora_host`].
//!
//! | module | what it does |
//! |---|---|
//! | [`config`] | reads `remora.toml` and says what is wrong with it |
//! | [`server`] | accepts connections, and stops gracefully |
//! | [`gateway`] | what happens with a request: to which of the others it goes |
//! | `forward` | plain HTTP: absolute-form requests |
//! | `tunnel` | CONNECT |
//! | `upload` | how a request's body is doing: clients that break off or dawdle |
//! | `upstream` | connections to upstream proxies, kept for reuse |
//! | `ticket` | a lease that is released once, and the line in the log that goes with it |
//! | `classify` | what an answer or a fault says about the proxy |
//! | `headers` | what must not be passed on |
//! | `reply` | what clients are told when something is wrong |
//! | [`admin`] | `/stats`, `/sessions`, `/healthz` |
//! | [`demo`] | a pool, an origin and a client on loopback, to watch it work |

#![forbid(unsafe_code)]

pub mod admin;
mod classify;
pub mod cli;
pub mod config;
pub mod demo;
mod forward;
pub mod gateway;
mod headers;
mod reply;
pub mod server;
mod ticket;
mod tunnel;
mod upload;
mod upstream;
