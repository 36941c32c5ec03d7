//! Stores on real servers.

use std::sync::{Arc, LazyLock};

use remora_host::storage::{Blocking, RedisOptions, RedisStorage};
use tokio::runtime::{Builder, Runtime};

/// Everything asynchronous in this binary runs here.
pub static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(4).enable_all().build().unwrap()
});

pub fn open(url: &str) -> Arc<RedisStorage> {
    let _inside = RUNTIME.enter();
    Arc::new(RedisStorage::open(RedisOptions::parse(url).unwrap()).unwrap())
}

/// For callers that wait.
pub fn blocking(url: &str) -> Blocking<RedisStorage> {
    Blocking::new(open(url), RUNTIME.handle().clone())
}
