//! The breaker applied to stored state that other instances change at the same time.

use crate::breaker::{Breaker, BreakerPolicy, Change, Pass};
use crate::storage::{Cell, Exchange, Step, Storage, StorageError, Table, update};

/// A breaker together with the stored value it was read from.
pub(crate) struct Seen {
    pub(crate) breaker: Breaker,
    cell: Option<Cell>,
}

impl Seen {
    pub(crate) fn new(cell: Option<Cell>) -> Result<Self, StorageError> {
        Ok(Self {
            breaker: Breaker::decode(cell.as_ref())?,
            cell,
        })
    }
}

pub(crate) fn look<S: Storage>(storage: &S, proxy: &str) -> Result<Seen, StorageError> {
    Seen::new(storage.load(Table::Breakers, proxy)?)
}

/// Tries to be the one probe of a breaker whose probe is due. `None`: somebody else was faster.
pub(crate) fn take_probe<S: Storage>(
    storage: &S,
    proxy: &str,
    seen: &Seen,
    now: u64,
    policy: &BreakerPolicy,
) -> Result<Option<Pass>, StorageError> {
    let probed = seen.breaker.probed(now, policy);
    let (expected, new) = (seen.cell.as_ref(), probed.encode());
    match storage.compare_exchange(Table::Breakers, proxy, expected, Some(&new))? {
        Exchange::Stored => Ok(Some(Pass {
            era: probed.era,
            probe: true,
            since: now,
        })),
        Exchange::Conflict(_) => Ok(None),
    }
}

/// Applies a verdict to the breaker. `verdict` answers with the breaker that follows, or with `None`
/// when nothing changes.
pub(crate) fn report<S: Storage>(
    storage: &S,
    proxy: &str,
    verdict: impl Fn(&Breaker) -> Option<(Breaker, Change)>,
) -> Result<Change, StorageError> {
    update(storage, Table::Breakers, proxy, |cell| {
        Ok(match verdict(&Breaker::decode(cell)?) {
            None => Step::Keep(Change::None),
            Some((next, change)) => Step::Set(Some(next.encode()), change),
        })
    })
}

/// Forgets what a proxy's breaker knows. The entry stays for its era, see [`Breaker::forgotten`].
pub(crate) fn forget<S: Storage>(storage: &S, proxy: &str) -> Result<(), StorageError> {
    update(storage, Table::Breakers, proxy, |cell| {
        let forgotten = Breaker::decode(cell)?.forgotten().encode();
        Ok(match cell {
            Some(cell) if *cell != forgotten => Step::Set(Some(forgotten), ()),
            _ => Step::Keep(()),
        })
    })
}
