//! How many requests a proxy carries: what the `least-used` strategy compares.
//!
//! A lease that is never released must not count for ever. So leases are counted by the window of
//! time they began in, one lease deadline long, and only the present and the previous window count: a
//! lost lease is forgotten after two. Windows of another length have other numbers: after the lease deadline has
//! changed, counting begins anew.

use crate::storage::{Cell, Step, Storage, StorageError, Table, update};

/// The counts of one proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    /// How long a window is, in milliseconds.
    length: u64,
    window: u64,
    present: u64,
    previous: u64,
}

impl Counts {
    /// The counts as seen at `now`, in windows of this length.
    fn at(self, now: u64, length: u64) -> Self {
        let window = now / length;
        let previous = match window.saturating_sub(self.window) {
            _ if self.length != length => 0,
            0 => return self,
            1 => self.present,
            _ => 0,
        };
        Self {
            length,
            window,
            present: 0,
            previous,
        }
    }

    fn decode(cell: Option<&Cell>) -> Self {
        cell.map_or_else(Self::default, |cell| {
            let [window, present, previous, length, ..] = cell.words;
            Self {
                length,
                window,
                present,
                previous,
            }
        })
    }

    fn encode(self) -> Cell {
        let Self {
            length,
            window,
            present,
            previous,
        } = self;
        Cell {
            words: [window, present, previous, length, 0, 0],
            expires_at: window.saturating_add(2).saturating_mul(length),
        }
    }
}

/// How many requests `proxy` carries.
pub(crate) fn count<S: Storage>(
    storage: &S,
    proxy: &str,
    now: u64,
    window_ms: u64,
) -> Result<u64, StorageError> {
    let cell = storage.load(Table::InFlight, proxy)?;
    let counts = Counts::decode(cell.as_ref()).at(now, window_ms);
    Ok(counts.present.saturating_add(counts.previous))
}

/// A request begins.
pub(crate) fn begin<S: Storage>(
    storage: &S,
    proxy: &str,
    now: u64,
    window_ms: u64,
) -> Result<(), StorageError> {
    change(storage, proxy, now, window_ms, |counts| {
        counts.present = counts.present.saturating_add(1);
    })
}

/// A request that began at `began` ends.
pub(crate) fn end<S: Storage>(
    storage: &S,
    proxy: &str,
    began: u64,
    now: u64,
    window_ms: u64,
) -> Result<(), StorageError> {
    change(storage, proxy, now, window_ms, |counts| {
        match counts.window.saturating_sub(began / window_ms) {
            0 => counts.present = counts.present.saturating_sub(1),
            1 => counts.previous = counts.previous.saturating_sub(1),
            // Already forgotten.
            _ => {}
        }
    })
}

fn change<S: Storage>(
    storage: &S,
    proxy: &str,
    now: u64,
    window_ms: u64,
    apply: impl Fn(&mut Counts),
) -> Result<(), StorageError> {
    update(storage, Table::InFlight, proxy, |cell| {
        let mut counts = Counts::decode(cell).at(now, window_ms);
        apply(&mut counts);
        Ok(Step::Set(Some(counts.encode()), ()))
    })
}
