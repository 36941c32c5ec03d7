//! What a plugin may be, and what a broken one costs.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use remora_artifacts::{PLUGIN, PLUGIN_PATH, PLUGIN_WITH_SITES, TRAPPING_PLUGIN};
use remora_host::session::StickyPolicy;
use remora_host::{
    BreakerChange, BreakerConfig, Error, Outcome, Plugin, PluginError, Proxy, ProxyConfig,
    ProxyManager, Reason, Runtime, RuntimeConfig, Scope,
};
use wasmtime::component::{Component, types::ComponentItem};

/// Without the public suffix list; the issue's limit.
const MAX_SIZE: usize = 200_000;

#[test]
fn a_component_imports_a_clock_and_storage_and_nothing_else() {
    let engine = wasmtime::Engine::default();
    for bytes in [PLUGIN, PLUGIN_WITH_SITES] {
        let component = Component::from_binary(&engine, bytes).unwrap();
        let ty = component.component_type();
        let mut imports = Vec::new();
        for (name, item) in ty.imports(&engine) {
            let ComponentItem::ComponentInstance(interface) = item.ty else {
                panic!("{name} is not an interface");
            };
            let functions = interface
                .exports(&engine)
                .filter(|(_, item)| matches!(item.ty, ComponentItem::ComponentFunc(_)))
                .count();
            imports.push((name.to_owned(), functions));
        }
        imports.sort();
        let expected = [
            ("remora:egress/clock@0.1.0".to_owned(), 1),
            ("remora:egress/storage@0.1.0".to_owned(), 5),
            ("remora:egress/types@0.1.0".to_owned(), 0),
        ];
        assert_eq!(imports, expected);
    }
}

#[test]
fn the_component_is_small() {
    println!(
        "component: {} bytes; with the public suffix list: {} bytes",
        PLUGIN.len(),
        PLUGIN_WITH_SITES.len()
    );
    let engine = wasmtime::Engine::default();
    for bytes in [PLUGIN, PLUGIN_WITH_SITES] {
        let start = std::time::Instant::now();
        let component = Component::from_binary(&engine, bytes).unwrap();
        let memory = component
            .resources_required()
            .unwrap()
            .max_initial_memory_size;
        println!(
            "compiled in {:?}; memory at the start: {memory:?} pages of 64 KiB",
            start.elapsed()
        );
    }
    assert!(PLUGIN.len() < MAX_SIZE, "{} bytes", PLUGIN.len());
}

#[test]
fn a_plugin_is_read_from_a_file() {
    Plugin::from_file(PLUGIN_PATH).unwrap();
    let error = Plugin::from_file("/no/such/plugin.wasm").unwrap_err();
    assert!(
        error.to_string().contains("/no/such/plugin.wasm"),
        "{error}"
    );
}

#[test]
fn a_component_that_wants_more_is_refused_with_what_it_wanted() {
    let greedy = r#"(component
        (import "wasi:sockets/tcp@0.2.0" (instance))
        (import "remora:egress/clock@0.1.0" (instance)))"#;
    let error = Plugin::from_bytes(&wat::parse_str(greedy).unwrap()).unwrap_err();
    assert_eq!(
        error,
        PluginError::Imports(vec!["wasi:sockets/tcp@0.2.0".into()])
    );
}

#[test]
fn a_component_of_another_world_is_refused() {
    let other = wat::parse_str("(component)").unwrap();
    assert!(matches!(
        Plugin::from_bytes(&other),
        Err(PluginError::World(_))
    ));
    let module = wat::parse_str("(module)").unwrap();
    assert!(matches!(
        Plugin::from_bytes(&module),
        Err(PluginError::Compile(_))
    ));
    let torn = &PLUGIN[..PLUGIN.len() / 2];
    assert!(matches!(
        Plugin::from_bytes(torn),
        Err(PluginError::Compile(_))
    ));
}

async fn manager(plugin: Plugin) -> ProxyManager {
    let config = ProxyConfig {
        sticky_policy: StickyPolicy::domain_default(),
        ..ProxyConfig::default()
    };
    let builder = ProxyManager::builder().plugin(plugin).config(config);
    let mgr = builder.instances(2).build().unwrap();
    for i in 1..=3 {
        let proxy = Proxy::from_url(&format!("http://192.0.2.{i}:8080")).unwrap();
        mgr.add_proxy(proxy).await.unwrap();
    }
    mgr
}

#[tokio::test]
async fn a_trap_costs_the_call_that_trapped_and_nothing_else() {
    let mgr = manager(Plugin::from_bytes(TRAPPING_PLUGIN).unwrap()).await;
    let held = mgr.acquire_for_domain("held.example").await.unwrap();
    let moved = mgr.acquire_for_domain("moved.example").await.unwrap();
    let bad = moved.proxy_id();
    drop(moved);
    mgr.set_health(bad, false).await.unwrap();
    for n in 1..=20 {
        let error = mgr.acquire_for_domain("trap.example").await.unwrap_err();
        assert!(
            matches!(error, Error::Plugin(PluginError::Trapped(_))),
            "{error}"
        );
        assert_eq!(mgr.plugin_traps(), n);
        // Bindings, breakers, the pool and its health are as before.
        let again = mgr.acquire_for_domain("held.example").await.unwrap();
        assert_eq!(
            (again.proxy_id(), again.reason()),
            (held.proxy_id(), Reason::Hit)
        );
        again.mark_success();
        let stats = mgr.pool_stats().await.unwrap();
        assert_eq!(
            (stats.total, stats.healthy, stats.active_sessions),
            (3, 2, 1)
        );
    }
    held.mark_success();
}

#[tokio::test]
async fn the_scope_site_is_served_by_the_plugin_that_has_the_list() {
    let config = ProxyConfig {
        sticky_policy: StickyPolicy::domain_default(),
        sticky_scope: Scope::Site,
        ..ProxyConfig::default()
    };
    let mgr = ProxyManager::builder()
        .config(config.clone())
        .build()
        .unwrap();
    mgr.add_proxy(Proxy::from_url("http://192.0.2.1:8080").unwrap())
        .await
        .unwrap();
    let handle = mgr
        .acquire_for_domain("www.shop.example.co.uk")
        .await
        .unwrap();
    assert_eq!(handle.session_key(), Some("example.co.uk"));
    handle.mark_success();

    let builder = ProxyManager::builder().config(config);
    let error = builder
        .plugin(Plugin::builtin().unwrap())
        .build()
        .unwrap_err();
    assert!(
        error.to_string().starts_with("`sticky.scope` is `site`"),
        "{error}"
    );
}

#[tokio::test]
async fn managers_that_are_gone_take_no_places_while_their_leases_are_out() {
    // Places for two managers at a time.
    let runtime = Runtime::new(RuntimeConfig {
        instances: 2,
        ..RuntimeConfig::default()
    });
    let plugin = runtime.unwrap().load_file(PLUGIN_PATH).unwrap();
    let mut out = Vec::new();
    for _ in 0..200 {
        let config = ProxyConfig {
            breaker: BreakerConfig {
                open_threshold: 1,
                ..BreakerConfig::default()
            },
            ..ProxyConfig::default()
        };
        let builder = ProxyManager::builder()
            .plugin(plugin.clone())
            .config(config);
        let manager = builder.instances(1).build().unwrap();
        let proxy = Proxy::from_url("http://192.0.2.1:8080").unwrap();
        manager.add_proxy(proxy).await.unwrap();
        out.push(manager.acquire_proxy().await.unwrap());
    }
    for handle in out {
        let released = handle.release(Outcome::Failure).await.unwrap();
        assert_eq!(released.breaker, BreakerChange::Opened);
    }
}
