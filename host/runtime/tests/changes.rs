//! What is said to a manager holds for all its instances: when the storage fails, and when whoever said it has gone.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use remora_host::storage::{
    Answer, Cell, Exchange, Head, MemoryProxyStore, Page, RemoteStorage, Storage, StorageError,
    Table,
};
use remora_host::{BreakerState, Error, Outcome, Proxy, ProxyManager};
use tokio::runtime::Handle;
use tokio::sync::RwLock;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

/// Long enough for a call to come to where it waits.
const SHORT: Duration = Duration::from_millis(50);

/// A storage that can be made to wait, and to fail.
#[derive(Default)]
struct Store {
    memory: MemoryProxyStore,
    /// Whoever holds it for writing lets nobody load.
    gate: RwLock<()>,
    fails: AtomicBool,
}

impl Store {
    fn look(&self, table: Table, key: &str) -> Result<Option<Cell>, StorageError> {
        if self.fails.load(Ordering::Relaxed) {
            return Err(StorageError::Unavailable);
        }
        Storage::load(&self.memory, table, key)
    }
}

impl Storage for Store {
    fn load(&self, table: Table, key: &str) -> Result<Option<Cell>, StorageError> {
        if self.gate.try_read().is_err() {
            drop(self.gate.blocking_read());
        }
        self.look(table, key)
    }

    fn compare_exchange(
        &self,
        table: Table,
        key: &str,
        expected: Option<&Cell>,
        new: Option<&Cell>,
    ) -> Result<Exchange, StorageError> {
        self.memory.compare_exchange(table, key, expected, new)
    }

    fn first_to_expire(&self, table: Table, limit: u32) -> Result<Head, StorageError> {
        self.memory.first_to_expire(table, limit)
    }

    fn scan(&self, table: Table, cursor: Option<u64>, limit: u32) -> Result<Page, StorageError> {
        self.memory.scan(table, cursor, limit)
    }
}

impl RemoteStorage for Store {
    fn load<'a>(&'a self, table: Table, key: &'a str) -> Answer<'a, Option<Cell>> {
        Box::pin(async move {
            drop(self.gate.read().await);
            self.look(table, key)
        })
    }

    fn compare_exchange<'a>(
        &'a self,
        table: Table,
        key: &'a str,
        expected: Option<Cell>,
        new: Option<Cell>,
    ) -> Answer<'a, Exchange> {
        let (expected, new) = (expected.as_ref(), new.as_ref());
        let exchanged = self.memory.compare_exchange(table, key, expected, new);
        Box::pin(async move { exchanged })
    }

    fn first_to_expire(&self, table: Table, limit: u32) -> Answer<'_, Head> {
        Box::pin(async move { self.memory.first_to_expire(table, limit) })
    }

    fn scan(&self, table: Table, cursor: Option<u64>, limit: u32) -> Answer<'_, Page> {
        Box::pin(async move { self.memory.scan(table, cursor, limit) })
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(future)
}

fn proxy(i: usize) -> Proxy {
    Proxy::from_url(&format!("http://192.0.2.{i}:8080")).unwrap()
}

async fn known(manager: &ProxyManager) -> Vec<Uuid> {
    let proxies = manager.proxies().await.unwrap();
    proxies.iter().map(|proxy| proxy.id).collect()
}

#[tokio::test]
async fn a_removal_that_nobody_waits_for_any_more_holds_for_every_instance() {
    let store = Arc::new(Store::default());
    let builder = ProxyManager::builder().remote_storage(store.clone());
    let manager = builder.instances(4).build().unwrap();
    let ids = manager.add_proxies(vec![proxy(1), proxy(2)]).await.unwrap();
    let ask = async |n: usize| {
        let handle = manager.acquire_for_domain(&format!("s{n}.example")).await;
        let handle = handle.unwrap();
        let proxy = handle.proxy_id();
        handle.release(Outcome::Success).await.unwrap();
        proxy
    };
    // The instances are made, and know both.
    for n in 0..40 {
        ask(n).await;
    }
    let shut = store.gate.write().await;
    let given_up = timeout(SHORT, manager.remove_proxy(ids[0])).await;
    assert!(given_up.is_err());
    drop(shut);
    // Comes after it.
    assert!(manager.set_health(ids[1], true).await.unwrap());
    for n in 0..40 {
        assert_eq!(ask(n).await, ids[1]);
    }
    assert_eq!(known(&manager).await, ids[1..]);
    assert_eq!(manager.remove_proxy(ids[0]).await, Ok(false));
}

/// One instance, on a thread that may wait, and a call that keeps it waiting.
async fn kept(manager: &ProxyManager) -> tokio::task::JoinHandle<()> {
    let manager = manager.clone();
    let call = tokio::spawn(async move { manager.acquire_proxy().await.unwrap().cancel() });
    sleep(SHORT).await;
    assert!(!call.is_finished());
    call
}

fn apart(store: &Arc<Store>) -> ProxyManager {
    let builder = ProxyManager::builder().storage(store.clone()).instances(1);
    let builder = builder.on_blocking_threads(Handle::current());
    builder.build().unwrap()
}

#[tokio::test]
async fn a_release_that_nobody_waits_for_any_more_goes_on_where_calls_run_apart() {
    let store = Arc::new(Store::default());
    let manager = apart(&store);
    manager.add_proxy(proxy(1)).await.unwrap();
    let handle = manager.acquire_proxy().await.unwrap();
    let shut = store.gate.write().await;
    let call = kept(&manager).await;
    let given_up = timeout(SHORT, handle.release(Outcome::Failure)).await;
    assert!(given_up.is_err());
    drop(shut);
    call.await.unwrap();
    manager.settled().await;
    let failed = BreakerState::Closed { failures: 1 };
    assert_eq!(manager.proxies().await.unwrap()[0].breaker, failed);
}

#[tokio::test]
async fn a_change_that_nobody_waits_for_any_more_is_made_whole_where_calls_run_apart() {
    let store = Arc::new(Store::default());
    let manager = apart(&store);
    let first = manager.add_proxy(proxy(1)).await.unwrap();
    let shut = store.gate.write().await;
    let call = kept(&manager).await;
    let given_up = timeout(SHORT, manager.add_proxy(proxy(2))).await;
    assert!(given_up.is_err());
    drop(shut);
    call.await.unwrap();
    // Comes after it.
    assert!(manager.remove_proxy(first).await.unwrap());
    let second = manager.acquire_proxy().await.unwrap();
    assert_eq!(known(&manager).await, [second.proxy_id()]);
    second.cancel();
}

#[test]
fn a_removal_that_fails_leaves_the_proxy_to_every_instance() {
    let store = Arc::new(Store::default());
    let builder = ProxyManager::builder().storage(store.clone());
    let manager = builder.instances(2).build().unwrap();
    let ids = block_on(manager.add_proxies(vec![proxy(1), proxy(2)])).unwrap();
    // Threads keep to different instances.
    let everywhere = || {
        for _ in 0..16 {
            let known = thread::scope(|scope| {
                let look = scope.spawn(|| block_on(known(&manager)));
                look.join().unwrap()
            });
            assert_eq!(known, ids);
        }
    };
    everywhere();
    store.fails.store(true, Ordering::Relaxed);
    let failed = block_on(manager.remove_proxy(ids[0]));
    assert_eq!(failed, Err(Error::Storage(StorageError::Unavailable)));
    store.fails.store(false, Ordering::Relaxed);
    everywhere();
}
