//! A storage back end of one's own, checked and used: `cargo run -p remora-host --example own_store`.
//!
//! One ordered map behind one lock is all it takes to be right. It is slower than the library's own memory store:
//! callers wait for each other, and the first to expire are looked for.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use remora_host::session::StickyPolicy;
use remora_host::storage::{Cell, Exchange, Head, Page, Storage, StorageError, Table, conformance};
use remora_host::{Proxy, ProxyConfig, ProxyManager};

/// Entries by table and key.
#[derive(Debug, Default)]
struct OwnStore(Mutex<BTreeMap<(u8, String), Cell>>);

impl Storage for OwnStore {
    fn load(&self, table: Table, key: &str) -> Result<Option<Cell>, StorageError> {
        let entries = self.0.lock();
        Ok(entries.get(&(table.index(), key.to_owned())).copied())
    }

    fn compare_exchange(
        &self,
        table: Table,
        key: &str,
        expected: Option<&Cell>,
        new: Option<&Cell>,
    ) -> Result<Exchange, StorageError> {
        // The lock is held from the comparison to the change: nobody gets in between.
        let mut entries = self.0.lock();
        let entry = entries.entry((table.index(), key.to_owned()));
        let current = match &entry {
            Entry::Occupied(entry) => Some(*entry.get()),
            Entry::Vacant(_) => None,
        };
        if current.as_ref() != expected {
            return Ok(Exchange::Conflict(current));
        }
        match (entry, new) {
            (entry, Some(new)) => drop(entry.insert_entry(*new)),
            (Entry::Occupied(entry), None) => drop(entry.remove()),
            (Entry::Vacant(_), None) => {}
        }
        Ok(Exchange::Stored)
    }

    fn first_to_expire(&self, table: Table, limit: u32) -> Result<Head, StorageError> {
        let entries = self.0.lock();
        let expiring = entries
            .iter()
            .filter(|((index, _), cell)| *index == table.index() && cell.expires_at != Cell::NEVER);
        let mut expiring: Vec<_> = expiring
            .map(|((_, key), cell)| (key.clone(), *cell))
            .collect();
        expiring.sort_by_key(|(_, cell)| cell.expires_at);
        let population = expiring.len() as u64;
        expiring.truncate(limit as usize);
        Ok(Head {
            population,
            entries: expiring,
        })
    }

    fn scan(&self, table: Table, cursor: Option<u64>, _limit: u32) -> Result<Page, StorageError> {
        // About `limit` may be all of them: one page, and no place where a change could hide an entry.
        debug_assert_eq!(cursor, None);
        let entries = self.0.lock();
        let all = entries
            .iter()
            .filter(|((index, _), _)| *index == table.index());
        Ok(Page {
            entries: all.map(|((_, key), cell)| (key.clone(), *cell)).collect(),
            next: None,
        })
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    for check in conformance::CHECKS {
        check.run(&OwnStore::default())?;
        println!("good: {}", check.name);
    }
    let config = ProxyConfig {
        sticky_policy: StickyPolicy::domain(Duration::from_secs(600)),
        ..ProxyConfig::default()
    };
    let store = Arc::new(OwnStore::default());
    let mgr = ProxyManager::with_round_robin(store.clone(), config)?;
    for port in [8081, 8082] {
        mgr.add_proxy(Proxy::from_url(&format!("http://127.0.0.1:{port}"))?)
            .await?;
    }
    let handle = mgr.acquire_for_domain("shop.example.com").await?;
    handle.mark_success();
    println!("shop.example.com is bound to {}", handle.proxy_url());
    drop(handle);
    println!("the store holds {} entries", store.0.lock().len());
    Ok(())
}
