//! A program written against the reference's page, with the crate's name changed.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::time::Duration;

use remora_host::session::{SessionMap, StickyPolicy};
use remora_host::storage::MemoryProxyStore;
use remora_host::{Error, Proxy, ProxyConfig, ProxyHandle, ProxyManager, ProxyType};
use uuid::Uuid;

/// Stands for the reference's HTTP client: what matters is which proxy it would have gone through.
async fn fetch(handle: &ProxyHandle, _url: &str) -> Uuid {
    handle.proxy_id()
}

async fn manager() -> Result<ProxyManager, Error> {
    let storage = Arc::new(MemoryProxyStore::default());
    let config = ProxyConfig {
        sticky_policy: StickyPolicy::domain(Duration::from_secs(600)),
        ..ProxyConfig::default()
    };
    let mgr = ProxyManager::with_round_robin(storage, config)?;
    for name in ["residential-proxy", "second-proxy", "third-proxy"] {
        mgr.add_proxy(Proxy {
            url: format!("http://{name}:8080"),
            proxy_type: ProxyType::Http,
            username: Some("user".into()),
            password: Some("pass".into()),
            weight: 1,
            tags: vec!["residential".into()],
        })
        .await?;
    }
    Ok(mgr)
}

#[tokio::test]
async fn a_login_flow_keeps_its_proxy() -> Result<(), Error> {
    let mgr = manager().await?;
    let handle = mgr.acquire_for_domain("store.example.com").await?;
    let login = fetch(&handle, "https://store.example.com/login").await;
    handle.mark_success();
    let handle = mgr.acquire_for_domain("store.example.com").await?;
    let session = fetch(&handle, "https://store.example.com/session").await;
    handle.mark_success();
    let handle = mgr.acquire_for_domain("store.example.com").await?;
    let account = fetch(&handle, "https://store.example.com/account").await;
    handle.mark_success();
    assert_eq!((login, login), (session, account));
    Ok(())
}

#[tokio::test]
async fn a_handle_dropped_without_success_resets_the_session() -> Result<(), Error> {
    let mgr = manager().await?;
    let handle = mgr.acquire_for_domain("shop.example.com").await?;
    let bad = handle.proxy_id();
    assert_eq!(mgr.pool_stats().await?.active_sessions, 1);
    drop(handle);
    assert_eq!(mgr.pool_stats().await?.active_sessions, 0);
    let handle = mgr.acquire_for_domain("shop.example.com").await?;
    assert_ne!(handle.proxy_id(), bad);
    handle.mark_success();
    Ok(())
}

#[tokio::test]
async fn a_cancelled_handle_changes_nothing() -> Result<(), Error> {
    let mgr = manager().await?;
    let handle = mgr.acquire_for_domain("shop.example.com").await?;
    let proxy = handle.proxy_id();
    handle.cancel();
    let handle = mgr.acquire_for_domain("shop.example.com").await?;
    assert_eq!(handle.proxy_id(), proxy);
    handle.mark_success();
    Ok(())
}

#[tokio::test]
async fn domains_have_sessions_of_their_own() -> Result<(), Error> {
    let mgr = manager().await?;
    let h1 = mgr.acquire_for_domain("shop-a.com").await?;
    let h2 = mgr.acquire_for_domain("shop-b.com").await?;
    let h3 = mgr.acquire_for_domain("shop-c.com").await?;
    let (a, b, c) = tokio::join!(
        fetch(&h1, "https://shop-a.com/products"),
        fetch(&h2, "https://shop-b.com/products"),
        fetch(&h3, "https://shop-c.com/products"),
    );
    assert!(a != b && b != c && a != c);
    for handle in [h1, h2, h3] {
        handle.mark_success();
    }
    let stats = mgr.pool_stats().await?;
    assert_eq!(
        (
            stats.total,
            stats.healthy,
            stats.open,
            stats.active_sessions
        ),
        (3, 3, 0, 3)
    );
    Ok(())
}

#[tokio::test]
async fn without_a_policy_every_call_rotates() -> Result<(), Error> {
    let mgr = manager().await?;
    mgr.reconfigure(ProxyConfig::default()).await?;
    let mut seen = Vec::new();
    for _ in 0..3 {
        let handle = mgr.acquire_for_domain("shop.example.com").await?;
        seen.push(handle.proxy_id());
        handle.mark_success();
    }
    for _ in 0..3 {
        let handle = mgr.acquire_proxy().await?;
        assert_eq!(handle.session_key(), None);
        assert!(seen.contains(&handle.proxy_id()));
        handle.mark_success();
    }
    seen.dedup();
    assert_eq!(seen.len(), 3);
    Ok(())
}

#[test]
fn the_session_map_works_on_its_own() -> Result<(), Error> {
    let sessions = SessionMap::new();
    let proxy_id = Uuid::new_v4();
    sessions.bind("login.example.com", proxy_id, Duration::from_secs(300))?;
    assert_eq!(sessions.lookup("login.example.com"), Some(proxy_id));
    sessions.bind("short.example.com", proxy_id, Duration::from_millis(1))?;
    while sessions.lookup("short.example.com").is_some() {
        std::thread::yield_now();
    }
    assert_eq!(sessions.active_count(), 1);
    assert_eq!(sessions.purge_expired(), 1);
    sessions.unbind("login.example.com");
    assert_eq!(sessions.lookup("login.example.com"), None);
    assert_eq!(sessions.active_count(), 0);
    assert!(
        sessions
            .bind("not a domain", proxy_id, Duration::from_secs(1))
            .is_err()
    );
    Ok(())
}

#[tokio::test]
async fn a_name_in_another_script_is_the_same_session_as_its_punycode() -> Result<(), Error> {
    let mgr = manager().await?;
    let handle = mgr.acquire_for_domain("B\u{fc}cher.example:443").await?;
    assert_eq!(handle.session_key(), Some("xn--bcher-kva.example"));
    handle.mark_success();
    Ok(())
}

#[tokio::test]
async fn a_setting_that_is_not_accepted_is_named_and_changes_nothing() -> Result<(), Error> {
    let mgr = manager().await?;
    let mut config = ProxyConfig::default();
    config.breaker.open_threshold = 0;
    let error = mgr.reconfigure(config).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "`breaker.open_threshold` is `0`; accepted: at least 1"
    );
    let proxy = Proxy {
        weight: 0,
        ..Proxy::from_url("http://192.0.2.1:80")?
    };
    let good = Proxy::from_url("http://192.0.2.2:80")?;
    let error = mgr.add_proxies(vec![good, proxy]).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "`proxy[1].weight` is `0`; accepted: 1 to 65535"
    );
    assert_eq!(mgr.proxies().await?.len(), 3);
    let handle = mgr.acquire_for_domain("a.example").await?;
    assert!(matches!(handle.reason(), remora_host::Reason::Bound));
    handle.mark_success();
    Ok(())
}

#[tokio::test]
async fn credentials_are_for_the_client_only() -> Result<(), Error> {
    let mgr = manager().await?;
    let handle = mgr.acquire_for_domain("a.example").await?;
    assert_eq!(handle.proxy_url(), "http://residential-proxy:8080");
    assert_eq!(
        handle.proxy_url_with_credentials(),
        "http://user:pass@residential-proxy:8080/"
    );
    let shown = format!(
        "{handle:?} {mgr:?} {:?} {:?}",
        handle.proxy(),
        mgr.proxies().await?
    );
    assert!(
        !shown.contains("\"pass\"") && !shown.contains("user:") && !shown.contains("\"user\""),
        "{shown}"
    );
    handle.mark_success();
    Ok(())
}

/// Of forty requests that run at the same time, which leave through the first of two proxies: the one with a weight of
/// three.
async fn through_the_first(mgr: ProxyManager) -> Result<Vec<bool>, Error> {
    let mut ids = Vec::new();
    for (port, weight) in [(8081, 3), (8082, 1)] {
        let proxy = Proxy::from_url(&format!("http://192.0.2.1:{port}"))?;
        ids.push(mgr.add_proxy(Proxy { weight, ..proxy }).await?);
    }
    let mut handles = Vec::new();
    for _ in 0..40 {
        handles.push(mgr.acquire_proxy().await?);
    }
    let chosen = handles.iter().map(|handle| handle.proxy_id() == ids[0]);
    let chosen = chosen.collect();
    for handle in handles {
        handle.mark_success();
    }
    Ok(chosen)
}

#[tokio::test]
async fn each_strategy_has_a_constructor() -> Result<(), Error> {
    let storage = || Arc::new(MemoryProxyStore::default());
    let config = ProxyConfig::default;
    let count = |chosen: &[bool]| chosen.iter().filter(|first| **first).count();
    let in_turn = |chosen: &[bool]| chosen.windows(2).all(|two| two[0] != two[1]);

    let mgr = ProxyManager::with_round_robin(storage(), config())?;
    assert!(in_turn(&through_the_first(mgr).await?));

    let mgr = ProxyManager::with_least_used(storage(), config())?;
    assert_eq!(count(&through_the_first(mgr).await?), 20);

    let mgr = ProxyManager::with_weighted(storage(), config())?;
    let share = count(&through_the_first(mgr).await?);
    assert!((28..=32).contains(&share), "{share}");

    // Once in 2^38 runs it looks like turns, or forgets one of the two.
    let mgr = ProxyManager::with_random(storage(), config())?;
    let chosen = through_the_first(mgr).await?;
    assert!(!in_turn(&chosen) && (1..40).contains(&count(&chosen)));
    Ok(())
}
