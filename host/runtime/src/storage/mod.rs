//! Where state lives.
//!
//! A back end implements [`Storage`]: four atomic operations on small fixed-size cells. Plugins reach
//! it through their `storage` import, so whatever shares a back end decides as one. A back end of your own
//! is right when it passes [`conformance`].

pub mod conformance;
mod health;
mod memory;
mod redb;

pub use self::redb::{Durability, RedbError, RedbOptions, RedbStore};
pub use health::{Health, OnStorageError};
pub use memory::MemoryProxyStore;
pub use remora_core::{Cell, Exchange, Head, Page, Storage, StorageError, Table, Words};
