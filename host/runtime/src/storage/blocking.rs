//! A networked back end for callers that wait.

use std::sync::Arc;

use remora_core::{Cell, Exchange, Head, Page, Storage, StorageError, Table};
use tokio::runtime::Handle;

use super::remote::RemoteStorage;

/// A [`RemoteStorage`] as a [`Storage`]: a call blocks its thread until the answer is there. For the conformance
/// suite, for tools, and for [`SessionMap`](crate::session::SessionMap), whose methods cannot wait otherwise.
///
/// It panics when it is called on a thread that runs asynchronous tasks; there, hand the back end itself to
/// [`ProxyManagerBuilder::remote_storage`](crate::ProxyManagerBuilder::remote_storage).
#[derive(Debug)]
pub struct Blocking<R> {
    remote: Arc<R>,
    runtime: Handle,
}

impl<R: RemoteStorage> Blocking<R> {
    /// Waits for `remote` on `runtime`.
    pub fn new(remote: Arc<R>, runtime: Handle) -> Self {
        Self { remote, runtime }
    }
}

impl<R: RemoteStorage> Storage for Blocking<R> {
    fn load(&self, table: Table, key: &str) -> Result<Option<Cell>, StorageError> {
        self.runtime.block_on(self.remote.load(table, key))
    }

    fn load_pair(
        &self,
        first: (Table, &str),
        second: (Table, &str),
    ) -> Result<(Option<Cell>, Option<Cell>), StorageError> {
        self.runtime.block_on(self.remote.load_pair(first, second))
    }

    fn compare_exchange(
        &self,
        table: Table,
        key: &str,
        expected: Option<&Cell>,
        new: Option<&Cell>,
    ) -> Result<Exchange, StorageError> {
        let (expected, new) = (expected.copied(), new.copied());
        self.runtime
            .block_on(self.remote.compare_exchange(table, key, expected, new))
    }

    fn first_to_expire(&self, table: Table, limit: u32) -> Result<Head, StorageError> {
        self.runtime
            .block_on(self.remote.first_to_expire(table, limit))
    }

    fn scan(&self, table: Table, cursor: Option<u64>, limit: u32) -> Result<Page, StorageError> {
        self.runtime
            .block_on(self.remote.scan(table, cursor, limit))
    }
}
