//! What the core asks of the place where state lives.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

/// A group of entries that are counted, scanned and expired together.
///
/// The names are the core's; a back end only needs [`Table::index`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    /// Session key → binding.
    Sessions,
    /// Proxy id → circuit breaker.
    Breakers,
    /// Proxy id, port and session key → this exit is avoided for this target.
    Blocks,
    /// Proxy id → requests in flight. Written only by the `least-used` strategy.
    InFlight,
    /// One entry: the rotation cursor.
    Cursor,
    /// Port and session key → the exits that ended ambiguous for this target (rule 13).
    Doubts,
    /// A table of a custom plugin, 6 to 15.
    Custom(u8),
}

impl Table {
    /// How many tables a back end must keep apart. Larger than the number in use, so that a custom
    /// plugin has room for its own.
    pub const COUNT: u8 = 16;

    /// The table's number in the `storage` interface.
    pub const fn index(self) -> u8 {
        match self {
            Self::Sessions => 0,
            Self::Breakers => 1,
            Self::Blocks => 2,
            Self::InFlight => 3,
            Self::Cursor => 4,
            Self::Doubts => 5,
            Self::Custom(index) => index,
        }
    }

    /// The table of that number, `None` from [`Table::COUNT`] on.
    pub const fn from_index(index: u8) -> Option<Self> {
        Some(match index {
            0 => Self::Sessions,
            1 => Self::Breakers,
            2 => Self::Blocks,
            3 => Self::InFlight,
            4 => Self::Cursor,
            5 => Self::Doubts,
            6..Self::COUNT => Self::Custom(index),
            _ => return None,
        })
    }
}

/// The payload of a [`Cell`].
pub type Words = [u64; 6];

/// One stored value: six words that only the core understands, and when the entry may be dropped.
///
/// Fixed in size, so that a hit crosses the guest's border without an allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cell {
    /// The payload.
    pub words: Words,
    /// Milliseconds since the Unix epoch from which a back end may drop the entry;
    /// [`Cell::NEVER`] for one that must be kept.
    pub expires_at: u64,
}

impl Cell {
    /// The `expires_at` of an entry that does not expire.
    pub const NEVER: u64 = u64::MAX;
}

/// The answer to a compare-and-exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exchange {
    /// The entry was as expected and now holds the new value.
    Stored,
    /// The entry was not as expected; nothing changed. Holds what is there now.
    Conflict(Option<Cell>),
}

/// What [`Storage::first_to_expire`] answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// How many entries with an expiry the table holds, expired ones included.
    pub population: u64,
    /// The entries closest to expiry, closest first.
    pub entries: Vec<(String, Cell)>,
}

/// One page of a scan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Keys and values, in no particular order.
    pub entries: Vec<(String, Cell)>,
    /// Where to go on; `None` after the last page.
    pub next: Option<u64>,
}

/// Why a back end could not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum StorageError {
    /// The back end cannot be reached, did not answer in time, or takes no changes now.
    Unavailable,
    /// The back end has no room left.
    Full,
    /// The stored value is not one this version of the core wrote.
    Corrupt,
    /// An entry changed under every one of many attempts to change it.
    Contended,
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unavailable => {
                "the storage cannot be reached, did not answer in time, or takes no changes"
            }
            Self::Full => "the storage has no room left",
            Self::Corrupt => "a stored value is not one that this version wrote",
            Self::Contended => "an entry changed under every attempt to change it",
        })
    }
}

impl core::error::Error for StorageError {}

/// The place where state lives: shared by every instance of the core that decides together.
///
/// Each operation is atomic, and operations on one key are linearizable. Keys are 1 to
/// [`MAX_KEY_LEN`](crate::MAX_KEY_LEN) bytes of printable ASCII. An entry past its expiry may
/// be returned or may be gone; the core checks the expiry itself.
pub trait Storage {
    /// The entry's value, `None` when there is none.
    fn load(&self, table: Table, key: &str) -> Result<Option<Cell>, StorageError>;

    /// Two loads in one go, the first one not later than the second. A back end for which a call is a round
    /// trip makes it one.
    fn load_pair(
        &self,
        first: (Table, &str),
        second: (Table, &str),
    ) -> Result<(Option<Cell>, Option<Cell>), StorageError> {
        Ok((self.load(first.0, first.1)?, self.load(second.0, second.1)?))
    }

    /// Sets the entry to `new` (removes it for `None`) if it is equal to `expected` now.
    fn compare_exchange(
        &self,
        table: Table,
        key: &str,
        expected: Option<&Cell>,
        new: Option<&Cell>,
    ) -> Result<Exchange, StorageError>;

    /// The table's population and up to `limit` of the entries closest to expiry.
    fn first_to_expire(&self, table: Table, limit: u32) -> Result<Head, StorageError>;

    /// Whether the back end keeps its tables within bounds by itself. Then the core does not look for entries
    /// that could make room.
    fn bounds_itself(&self) -> bool {
        false
    }

    /// Up to about `limit` entries from `cursor` on (`None`: from the start). An entry that is there
    /// from the first page to the last is returned at least once.
    fn scan(&self, table: Table, cursor: Option<u64>, limit: u32) -> Result<Page, StorageError>;
}

macro_rules! storage_behind {
    ($($pointer:ty),*) => {$(
        impl<S: Storage + ?Sized> Storage for $pointer {
            fn load(&self, table: Table, key: &str) -> Result<Option<Cell>, StorageError> {
                (**self).load(table, key)
            }

            fn load_pair(
                &self,
                first: (Table, &str),
                second: (Table, &str),
            ) -> Result<(Option<Cell>, Option<Cell>), StorageError> {
                (**self).load_pair(first, second)
            }

            fn compare_exchange(
                &self,
                table: Table,
                key: &str,
                expected: Option<&Cell>,
                new: Option<&Cell>,
            ) -> Result<Exchange, StorageError> {
                (**self).compare_exchange(table, key, expected, new)
            }

            fn first_to_expire(&self, table: Table, limit: u32) -> Result<Head, StorageError> {
                (**self).first_to_expire(table, limit)
            }

            fn bounds_itself(&self) -> bool {
                (**self).bounds_itself()
            }

            fn scan(&self, table: Table, cursor: Option<u64>, limit: u32) -> Result<Page, StorageError> {
                (**self).scan(table, cursor, limit)
            }
        }
    )*};
}

storage_behind!(&S, Arc<S>);

/// How often an instance tries again when others change an entry under it. Every lost round means
/// that somebody else's change went through, so only a broken back end comes near this.
const ATTEMPTS: usize = 1_000;

/// What [`update`] should do with the value it was shown.
#[derive(Clone, Copy, Debug)]
pub enum Step<T> {
    /// Leave the entry as it is.
    Keep(T),
    /// Store this value, or remove the entry for `None`.
    Set(Option<Cell>, T),
}

/// Load, decide, compare-and-exchange, until it holds. `decide` may run several times and must
/// depend on nothing but what it is shown.
///
/// # Errors
///
/// Those of the storage and of `decide`, and [`StorageError::Contended`] when others were faster every time.
pub fn update<S: Storage, T>(
    storage: &S,
    table: Table,
    key: &str,
    mut decide: impl FnMut(Option<&Cell>) -> Result<Step<T>, StorageError>,
) -> Result<T, StorageError> {
    let mut seen = storage.load(table, key)?;
    for _ in 0..ATTEMPTS {
        match decide(seen.as_ref())? {
            Step::Keep(answer) => return Ok(answer),
            Step::Set(new, answer) => {
                match storage.compare_exchange(table, key, seen.as_ref(), new.as_ref())? {
                    Exchange::Stored => return Ok(answer),
                    Exchange::Conflict(current) => seen = current,
                }
            }
        }
    }
    Err(StorageError::Contended)
}
