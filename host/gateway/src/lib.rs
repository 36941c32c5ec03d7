//! The `remora` binary as a library: a sticky rotating forward proxy around [`remora_host`].
//!
//! | module | what it does |
//! |---|---|
//! | [`config`] | reads `remora.toml` and says what is wrong with it |
//! | [`build`] | from a checked configuration to the pool at its top |
//! | `storage` | the storage of each pool, opened |
//! | [`server`] | accepts connections, and stops gracefully |
//! | [`tenants`] | whom a request is from, and so through which pool it goes |
//! | `target` | where a request wants to go |
//! | [`gateway`] | what happens with a request |
//! | [`client`] | who is asking: authentication, session id, tags |
//! | `password` | what shows that a client is who it says |
//! | [`attempt`] | over which proxy a request goes, and over which next when that fails |
//! | `outgoing` | what is passed on of a request, and how often that may happen |
//! | `upload` | how a request's body is doing: clients that break off or dawdle |
//! | [`upstream`] | connections to upstream proxies: HTTP, TLS, SOCKS; kept for reuse |
//! | `forward` | plain HTTP: the response on its way back |
//! | `tunnel` | CONNECT: bytes in both directions |
//! | [`classify`] | what an answer or a fault says about the proxy |
//! | `ticket` | a lease that is released once, and what is said of it |
//! | `metrics` | counters for Prometheus |
//! | `record` | the file that every decision is written to |
//! | `history` | what is written down for programs that check the rules |
//! | `headers` | what must not be passed on |
//! | `body` | the bodies that it sends |
//! | `stdout` | standard output of commands |
//! | `seldom` | what clients cause and the log says now and then |
//! | `reply` | what clients are told when something is wrong |
//! | [`admin`] | `/stats`, `/sessions`, `/proxies`, `/metrics`, `/healthz` |
//! | [`envoy`] | the configuration of an Envoy with the same decisions in it |
//! | [`demo`] | a pool, an origin and a client on loopback, to watch it work |

#![forbid(unsafe_code)]
// `stdout::say` does not panic where nobody reads on.
#![warn(clippy::print_stdout)]

pub mod admin;
pub mod attempt;
mod body;
pub mod build;
pub mod cli;
pub mod client;
pub mod config;
pub mod demo;
pub mod envoy;
mod forward;
#[doc(hidden)]
pub mod fuzz;
pub mod gateway;
mod headers;
mod history;
mod metrics;
mod outgoing;
mod password;
mod record;
mod reply;
mod seldom;
pub mod server;
mod stdout;
mod storage;
mod store;
mod target;
pub mod tenants;
mod ticket;
mod tunnel;
mod upload;
pub mod upstream;
