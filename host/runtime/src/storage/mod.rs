//! Where state lives.
//!
//! | back end | what it is for |
//! |---|---|
//! | [`MemoryProxyStore`] | one process; gone with it |
//! | [`RedbStore`] | one process; a file that survives it |
//! | [`RedisStorage`] | any number of processes that decide as one |
//!
//! A back end of your own implements [`Storage`]: four atomic operations on small fixed-size cells; one behind a
//! network implements [`RemoteStorage`], which is the same without blocking a thread. Plugins reach it through their
//! `storage` import, so whatever shares a back end decides as one. It is right when it passes [`conformance`].

mod blocking;
pub mod conformance;
mod degrade;
mod health;
mod memory;
mod quota;
mod redb;
pub(crate) mod redis;
mod remote;

pub use self::redb::{Durability, RedbError, RedbOptions, RedbStore};
pub use self::redis::{RedisAddressError, RedisOpenError, RedisOptions, RedisStorage};
pub use blocking::Blocking;
pub use degrade::Degrading;
pub use health::{Health, OnStorageError};
pub use memory::MemoryProxyStore;
pub use quota::Quota;
pub use remora_core::{Cell, Exchange, Head, Page, Storage, StorageError, Table, Words};
pub use remote::{Answer, Pair, RemoteStorage};
