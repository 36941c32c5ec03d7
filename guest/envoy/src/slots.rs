//! The core's storage over Envoy's shared data: a fixed table of slots, each with several entries.
//!
//! Shared data has no listing, and a value that is removed leaves its key behind. So a key for every
//! session would grow for ever. Here the number of keys is fixed: a table has so many *slots*, an entry's key
//! says by its hash in which one it lives, and a full slot drops the entry closest to expiry.
//!
//! Two properties of shared data that this file lives with:
//!
//! - A set with a CAS of 0 overwrites whatever is there, and on an absent key any CAS succeeds. Creating with
//!   0 would let two workers believe that they created the same slot; `CREATE` lets only one.
//! - Every value read is copied into the module, by way of a call into it. A value that hardly ever changes is
//!   therefore kept here, together with the *stamp* of its table: an empty value, whose CAS is new after
//!   every write. Reading the stamp copies nothing, and once in a callback is enough.

mod entries;

use core::cell::RefCell;

use hashbrown::HashMap;
use remora_core::{Cell, Exchange, Head, Page, Storage, StorageError, Table};

use entries::{Entries, Entry};

/// Envoy's shared data, with its own rules for the CAS.
pub trait SharedData {
    /// The value, empty if it was removed, and its CAS; `None` for a key that was never set.
    fn get(&self, key: &[u8]) -> Option<(Vec<u8>, u32)>;

    /// The CAS of a value, 0 for a key that was never set.
    fn cas(&self, key: &[u8]) -> u32;

    /// Sets the value if its CAS is `cas`, if `cas` is 0, or if the key was never set. Answers whether it did.
    fn set(&self, key: &[u8], value: &[u8], cas: u32) -> bool;

    /// Another number with every callback: within one, what was up to date may be taken for it again.
    fn moment(&self) -> u64;
}

/// The CAS to create a value with: no value ever has it, for Envoy counts up from 1. What comes after four
/// thousand million writes is one chance in as many.
const CREATE: u32 = u32::MAX;

/// How many entries with an expiry a slot holds.
const PLACES: usize = 16;

/// How many entries a slot holds on average when the table is as full as it was asked to be. So a slot is
/// full long after the table is: with 8 in the mean, one slot in 270 has more than 16.
const EXPECTED: u64 = 8;

/// Slots of the tables that have an entry for each proxy. More than most pools have proxies.
const PROXY_SLOTS: u32 = 1_024;

/// Slots of the table of doubts: the default of `attribution.max_doubts`, and it bounds itself.
const DOUBT_SLOTS: u32 = 128;

/// How often a change is tried again when other workers change the same slot.
const ATTEMPTS: usize = 1_000;

/// How many slots' values are kept in the module at most.
const KEPT: usize = 4_096;

/// The storage of one worker. Workers share what `D` shares.
#[derive(Debug)]
pub struct SlotTable<D> {
    data: D,
    session_slots: u32,
    breakers: RefCell<Kept>,
    blocks: RefCell<Kept>,
}

/// Values of a table that hardly ever changes, as of the table's stamp.
#[derive(Debug, Default)]
struct Kept {
    stamp: u32,
    /// When the stamp was read.
    moment: Option<u64>,
    slots: HashMap<u32, Entries>,
}

/// The key of a slot in shared data.
type SlotKey = [u8; 6];

impl<D: SharedData> SlotTable<D> {
    /// A table for `max_sessions` sessions, and as many blocks.
    pub fn new(data: D, max_sessions: u64) -> Self {
        let slots = max_sessions.div_ceil(EXPECTED).clamp(1, u32::MAX.into());
        Self {
            data,
            session_slots: slots as u32,
            breakers: RefCell::default(),
            blocks: RefCell::default(),
        }
    }

    /// How many slots a table has.
    pub fn slots(&self, table: Table) -> u32 {
        match table {
            Table::Breakers | Table::InFlight => PROXY_SLOTS,
            Table::Cursor => 1,
            Table::Doubts => DOUBT_SLOTS,
            Table::Sessions | Table::Blocks | Table::Custom(_) => self.session_slots,
        }
    }

    /// Counts the entries of one slot that `counts` holds for.
    pub fn count_in(&self, table: Table, slot: u32, counts: impl Fn(&Cell) -> bool) -> u64 {
        let (entries, _) = self.read(slot_key(table, slot));
        entries.iter().filter(|entry| counts(&entry.cell)).count() as u64
    }

    fn place(&self, table: Table, key: &str) -> u32 {
        let n = self.slots(table);
        // The high half of the product: as even as the hash is, without a division.
        ((u128::from(hash(key.as_bytes())) * u128::from(n)) >> 64) as u32
    }

    fn read(&self, slot: SlotKey) -> (Entries, u32) {
        match self.data.get(&slot) {
            Some((bytes, cas)) => (Entries::new(bytes), cas),
            None => (Entries::default(), CREATE),
        }
    }

    fn load_kept(
        &self,
        kept: &RefCell<Kept>,
        table: Table,
        key: &str,
    ) -> Result<Option<Cell>, StorageError> {
        let place = self.place(table, key);
        let mut kept = kept.borrow_mut();
        let moment = Some(self.data.moment());
        if kept.moment != moment {
            // The stamp before the value: a write in between leaves a newer value under an older stamp, and the
            // next look at the stamp sees it change.
            let stamp = self.data.cas(&stamp_key(table));
            if kept.stamp != stamp || kept.slots.len() >= KEPT {
                kept.slots.clear();
                kept.stamp = stamp;
            }
            kept.moment = moment;
        }
        let slots = kept.slots.entry(place);
        let entries = slots.or_insert_with(|| self.read(slot_key(table, place)).0);
        entries.find(key)
    }

    /// Where the values of a table are kept that is read much more often than written.
    fn kept(&self, table: Table) -> Option<&RefCell<Kept>> {
        match table {
            Table::Breakers => Some(&self.breakers),
            Table::Blocks => Some(&self.blocks),
            _ => None,
        }
    }
}

fn slot_key(table: Table, slot: u32) -> SlotKey {
    // ASCII, seven bits a byte: the SDK wants a key that is text.
    let digit = |i: u32| (slot >> (7 * i)) as u8 & 0x7f;
    [
        table.index(),
        digit(0),
        digit(1),
        digit(2),
        digit(3),
        digit(4),
    ]
}

fn stamp_key(table: Table) -> [u8; 2] {
    [table.index(), b's']
}

/// FNV-1a, stirred: the same on every worker and in every version.
fn hash(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in bytes {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^ (hash >> 29)
}

impl<D: SharedData> Storage for SlotTable<D> {
    fn load(&self, table: Table, key: &str) -> Result<Option<Cell>, StorageError> {
        if let Some(kept) = self.kept(table) {
            return self.load_kept(kept, table, key);
        }
        let slot = slot_key(table, self.place(table, key));
        match self.data.get(&slot) {
            Some((bytes, _)) => Entries::new(bytes).find(key),
            None => Ok(None),
        }
    }

    fn compare_exchange(
        &self,
        table: Table,
        key: &str,
        expected: Option<&Cell>,
        new: Option<&Cell>,
    ) -> Result<Exchange, StorageError> {
        let place = self.place(table, key);
        let slot = slot_key(table, place);
        if let Some(kept) = self.kept(table) {
            // Whether this is stored or not, what was kept is older.
            kept.borrow_mut().slots.remove(&place);
        }
        for _ in 0..ATTEMPTS {
            let (entries, cas) = self.read(slot);
            let current = entries.find(key)?;
            if current.as_ref() != expected {
                return Ok(Exchange::Conflict(current));
            }
            let changed = entries.with(key, new, PLACES)?;
            if self.data.set(&slot, &changed, cas) {
                if self.kept(table).is_some() {
                    self.data.set(&stamp_key(table), &[], 0);
                }
                return Ok(Exchange::Stored);
            }
        }
        Err(StorageError::Contended)
    }

    /// Walks the whole table: for reports and tests. The core does not ask, see [`Storage::bounds_itself`].
    fn first_to_expire(&self, table: Table, limit: u32) -> Result<Head, StorageError> {
        let mut head = Head::default();
        for slot in 0..self.slots(table) {
            let (entries, _) = self.read(slot_key(table, slot));
            for entry in entries.iter() {
                if entry.cell.expires_at != Cell::NEVER {
                    head.population += 1;
                    head.entries.push((entry.key()?.into(), entry.cell));
                }
            }
        }
        head.entries
            .sort_by(|(a, x), (b, y)| (x.expires_at, a).cmp(&(y.expires_at, b)));
        head.entries.truncate(limit as usize);
        Ok(head)
    }

    fn bounds_itself(&self) -> bool {
        true
    }

    fn scan(&self, table: Table, cursor: Option<u64>, limit: u32) -> Result<Page, StorageError> {
        let mut page = Page::default();
        let first = cursor.unwrap_or(0).min(u64::from(u32::MAX)) as u32;
        for slot in first..self.slots(table) {
            if page.entries.len() >= limit.max(1) as usize {
                page.next = Some(slot.into());
                break;
            }
            let (entries, _) = self.read(slot_key(table, slot));
            for entry in entries.iter() {
                page.entries.push((entry.key()?.into(), entry.cell));
            }
        }
        Ok(page)
    }
}

impl Entry<'_> {
    fn key(&self) -> Result<&str, StorageError> {
        core::str::from_utf8(self.key).map_err(|_| StorageError::Corrupt)
    }
}
