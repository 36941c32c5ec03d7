//! The breaker applied to stored state that other instances change at the same time.

use crate::breaker::{AdmissionToken, Breaker, BreakerPolicy, Change, Struck};
use crate::pool::Pool;
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
) -> Result<Option<AdmissionToken>, StorageError> {
    let probed = seen.breaker.probed(now, policy);
    let (expected, new) = (seen.cell.as_ref(), probed.encode());
    match storage.compare_exchange(Table::Breakers, proxy, expected, Some(&new))? {
        Exchange::Stored => Ok(Some(AdmissionToken {
            era: probed.era,
            probe: true,
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

/// The proxies among which strikes leave some closed (rule 13).
pub(crate) struct Floor<'a> {
    pub(crate) pool: &'a Pool,
    /// The place of the proxy that may open.
    pub(crate) proxy: usize,
    /// How many others stay closed.
    pub(crate) min_available: usize,
}

impl Floor<'_> {
    fn holds<S: Storage>(&self, storage: &S) -> Result<bool, StorageError> {
        let mut closed = 0;
        for (i, other) in self.pool.iter().enumerate() {
            if i != self.proxy && other.healthy && look(storage, &other.key)?.breaker.is_closed() {
                closed += 1;
                if closed >= self.min_available {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

/// Applies a strike, or a witness, to the breaker of the proxy that `floor` names. It opens only while enough others stay
/// closed. Two that open at the same moment could each count the other one: so an opening is looked at once more after it
/// was written, and taken back if it was one too many.
pub(crate) fn strike<S: Storage>(
    storage: &S,
    floor: &Floor<'_>,
    struck: impl Fn(&Breaker) -> Option<Struck>,
) -> Result<Change, StorageError> {
    let proxy = &floor.pool.get(floor.proxy).key;
    let may_open = match struck(&look(storage, proxy)?.breaker) {
        None => return Ok(Change::None),
        Some(Struck::Becomes(..)) => true,
        Some(Struck::Opens { .. }) => floor.holds(storage)?,
    };
    let (change, written) = update(storage, Table::Breakers, proxy, |cell| {
        Ok(match struck(&Breaker::decode(cell)?) {
            None => Step::Keep((Change::None, None)),
            Some(Struck::Becomes(next, change)) => Step::Set(Some(next.encode()), (change, None)),
            Some(Struck::Opens { opened, counted }) if may_open => {
                let (opened, counted) = (opened.encode(), counted.encode());
                Step::Set(Some(opened), (Change::Opened, Some((opened, counted))))
            }
            Some(Struck::Opens { counted, .. }) => {
                let counted = counted.encode();
                match cell {
                    Some(cell) if *cell == counted => Step::Keep((Change::None, None)),
                    _ => Step::Set(Some(counted), (Change::None, None)),
                }
            }
        })
    })?;
    let Some((opened, counted)) = written else {
        return Ok(change);
    };
    let holds = floor.holds(storage);
    if let Ok(true) = holds {
        return Ok(change);
    }
    // Also where the others cannot be read. Where the breaker has changed since, it is no longer this opening that counts.
    storage.compare_exchange(Table::Breakers, proxy, Some(&opened), Some(&counted))?;
    holds.map(|_| Change::None)
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
