//! A crawler's loop: acquire, send, say how it went.
//!
//! `cargo run --package remora-host --example crawler`
//!
//! Needs no network: `send` stands for an HTTP client, and makes up answers that show each outcome.

use std::sync::Arc;
use std::time::Duration;

use remora_host::storage::MemoryProxyStore;
use remora_host::{Error, Proxy, ProxyConfig, ProxyHandle, ProxyManager, StickyPolicy};

/// What came of a request.
enum Answer {
    Status(u16),
    /// The proxy did not answer.
    Unreachable,
}

/// In real life: `reqwest::Proxy::all(handle.proxy_url_with_credentials())`, and so on.
fn send(handle: &ProxyHandle, site: &str) -> Answer {
    match (handle.proxy_url(), site) {
        ("http://192.0.2.1:8080", _) => Answer::Unreachable,
        ("http://192.0.2.3:8080", "picky.example.com") => Answer::Status(403),
        _ => Answer::Status(200),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let config = ProxyConfig {
        sticky_policy: StickyPolicy::domain(Duration::from_secs(600)),
        ..ProxyConfig::default()
    };
    let mgr = ProxyManager::with_round_robin(Arc::new(MemoryProxyStore::default()), config)?;
    for exit in 1..=3 {
        let url = format!("http://user:pass@192.0.2.{exit}:8080");
        mgr.add_proxy(Proxy::from_url(&url)?).await?;
    }
    for site in ["shop.example.com", "picky.example.com", "shop.example.com"] {
        for attempt in 1..=3 {
            let handle = mgr.acquire_for_domain(site).await?;
            let (proxy, reason) = (handle.proxy_url().to_owned(), handle.reason());
            let outcome = match send(&handle, site) {
                Answer::Status(status @ (403 | 429)) => {
                    // The site refuses this exit; others may welcome it.
                    handle.mark_blocked();
                    format!("{status}, blocked")
                }
                Answer::Status(status) => {
                    handle.mark_success();
                    format!("{status}, success")
                }
                // Dropped without a word: the proxy has failed.
                Answer::Unreachable => "unreachable, failure".to_owned(),
            };
            let done = outcome.ends_with("success");
            println!("{site:18} attempt {attempt} via {proxy} ({reason}): {outcome}");
            drop(handle);
            if done {
                break;
            }
        }
    }
    let stats = mgr.pool_stats().await?;
    println!(
        "{} proxies, {} healthy, {} open, {} sessions",
        stats.total, stats.healthy, stats.open, stats.active_sessions
    );
    Ok(())
}
