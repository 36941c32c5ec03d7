//! A file that is said to be a plugin. It is refused with a reason, or runs within its limits.

use std::sync::LazyLock;
use std::time::Duration;

use remora_host::{Limits, Proxy, ProxyManager, Runtime, RuntimeConfig};

use crate::Target;

pub(crate) const TARGET: Target = Target {
    name: "component",
    run,
    mutations: 1_500,
    words: &[
        "\u{0}asm",
        "\u{1}\u{0}\u{0}\u{0}",
        "\u{d}\u{0}\u{1}\u{0}",
        "wasi:cli/run@0.2.0",
        "acquire",
    ],
};

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let config = RuntimeConfig {
        instances: 4,
        component_size: 1 << 16,
        ..RuntimeConfig::default()
    };
    Runtime::new(config).unwrap()
});

fn run(data: &[u8]) {
    let plugin = match RUNTIME.load(data) {
        Ok(plugin) => plugin,
        Err(error) => {
            let said = error.to_string();
            assert!(!said.is_empty() && said.len() < 4_096, "{said}");
            return;
        }
    };
    let limits = Limits {
        call_timeout: Duration::from_millis(20),
        memory: 1 << 20,
        import_calls: 1_000,
        ..Limits::untrusted()
    };
    let builder = ProxyManager::builder().plugin(plugin.with_limits(limits));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    if let Ok(manager) = builder.instances(1).build() {
        let proxy = Proxy::from_url("http://192.0.2.1:8080").unwrap();
        runtime.block_on(manager.add_proxy(proxy)).ok();
        if let Ok(handle) = runtime.block_on(manager.acquire_for_domain("shop.example")) {
            assert_eq!(handle.proxy_url(), "http://192.0.2.1:8080");
            handle.mark_blocked();
        }
        runtime.block_on(manager.sessions()).ok();
        runtime.block_on(manager.pool_stats()).ok();
    }
}
