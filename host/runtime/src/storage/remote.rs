//! A back end for which a call is a round trip.

use std::future::Future;
use std::pin::Pin;

use remora_core::{Cell, Exchange, Head, Page, StorageError, Table};

/// What a [`RemoteStorage`] answers with, once it has.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StorageError>> + Send + 'a>>;

/// Two loaded values.
pub type Pair = (Option<Cell>, Option<Cell>);

/// The place where state lives, behind a network: [`Storage`](super::Storage) that does not block its thread.
///
/// The contract is that of `Storage`, word by word. Three things are more:
///
/// * An answer may never come. Who calls waits no longer than its deadline and then drops the future; a back
///   end must bear that, and should answer [`StorageError::Unavailable`] early where it knows better.
/// * An exchange whose answer is lost may have happened or not. Who called gets
///   [`StorageError::Unavailable`], and finds out with its next load. Sending it again must not do it twice.
/// * [`Table::Cursor`] may be kept for each process apart (see [`remora_core::cursor_of_a_member`]): one cell that a
///   whole fleet fights over would be slow, and nothing rests on there being one.
pub trait RemoteStorage: Send + Sync {
    /// The entry's value, `None` when there is none.
    fn load<'a>(&'a self, table: Table, key: &'a str) -> Answer<'a, Option<Cell>>;

    /// Two loads in one round trip, the first one not later than the second.
    fn load_pair<'a>(
        &'a self,
        first: (Table, &'a str),
        second: (Table, &'a str),
    ) -> Answer<'a, Pair> {
        Box::pin(async move {
            let one = self.load(first.0, first.1).await?;
            Ok((one, self.load(second.0, second.1).await?))
        })
    }

    /// Sets the entry to `new` (removes it for `None`) if it is equal to `expected` now.
    fn compare_exchange<'a>(
        &'a self,
        table: Table,
        key: &'a str,
        expected: Option<Cell>,
        new: Option<Cell>,
    ) -> Answer<'a, Exchange>;

    /// The table's population and up to `limit` of the entries closest to expiry.
    fn first_to_expire(&self, table: Table, limit: u32) -> Answer<'_, Head>;

    /// Up to about `limit` entries from `cursor` on (`None`: from the start). An entry that is there from the
    /// first page to the last is returned at least once.
    fn scan(&self, table: Table, cursor: Option<u64>, limit: u32) -> Answer<'_, Page>;

    /// The time by the store's own clock, in milliseconds since the Unix epoch, if it has one and knows it: the
    /// one clock that machines of a fleet agree on. Must not wait.
    fn now_ms(&self) -> Option<u64> {
        None
    }

    /// Waits until [`now_ms`](Self::now_ms) is known, which it stays; a store without a clock has nothing to wait for.
    /// Nothing is decided before that: by its own clock a process whose date is wrong would end everybody's sessions.
    fn time_known(&self) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }
}
