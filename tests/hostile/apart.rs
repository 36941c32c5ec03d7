//! Calls on threads that may be kept waiting.

use std::time::Duration;

use remora_host::{Limits, Plugin, Proxy, ProxyManager, ProxyManagerBuilder, Strategy};
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};

use super::guest::Guest;

/// A manager on the threads of this runtime, which has one for everything else.
async fn apart(builder: ProxyManagerBuilder) -> ProxyManager {
    let apart = builder.instances(1).on_blocking_threads(Handle::current());
    let manager = apart.build().unwrap();
    let proxy = Proxy::from_url("http://192.0.2.1:8080").unwrap();
    manager.add_proxy(proxy).await.unwrap();
    manager
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    runtime.unwrap().block_on(future)
}

#[test]
fn a_call_that_runs_to_its_limit_keeps_nothing_else_waiting() {
    let _alone = super::alone();
    let guest = Guest {
        acquire: "(loop $l (br $l))",
        ..Guest::default()
    };
    let limits = Limits {
        call_timeout: Duration::from_millis(300),
        ..Limits::untrusted()
    };
    let plugin = Plugin::from_bytes(&guest.component())
        .unwrap()
        .with_limits(limits);
    block_on(async {
        let manager = apart(ProxyManager::builder().plugin(plugin)).await;
        let asked = tokio::spawn(async move { manager.acquire_proxy().await.map(|_| ()) });
        let mut ticks = 0;
        while !asked.is_finished() {
            sleep(Duration::from_millis(5)).await;
            ticks += 1;
        }
        // On the one thread that ticks, too, there would have been a tick before the call and one after it.
        assert!(ticks > 5, "{ticks}");
        let error = asked.await.unwrap().unwrap_err();
        assert!(
            error.to_string().contains("it ran longer than a call may"),
            "{error}"
        );
    });
}

#[test]
fn a_lease_that_nobody_waits_for_any_more_goes_back() {
    let _alone = super::alone();
    block_on(async {
        let manager = apart(ProxyManager::builder().strategy(Strategy::LeastUsed)).await;
        for _ in 0..20 {
            let given_up = timeout(Duration::ZERO, manager.acquire_proxy()).await;
            drop(given_up.map(|granted| granted.unwrap().cancel()));
        }
        // One at a time: this one is the last.
        let last = manager.acquire_proxy().await.unwrap();
        manager.settled().await;
        assert_eq!(manager.proxies().await.unwrap()[0].in_flight, 1);
        last.cancel();
        manager.settled().await;
        assert_eq!(manager.proxies().await.unwrap()[0].in_flight, 0);
    });
}
