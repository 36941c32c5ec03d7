//! The value of a slot: entries one after the other, each its key's length, its cell and its key.

use remora_core::{Cell, StorageError};

/// The length of a key in two bytes, an expiry and six words.
const HEAD: usize = 2 + 8 * 7;

/// The entries of a slot.
#[derive(Clone, Debug, Default)]
pub(super) struct Entries(Vec<u8>);

/// One of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'a> {
    pub(super) key: &'a [u8],
    pub(super) cell: Cell,
    /// All of it, as it is stored.
    bytes: &'a [u8],
}

impl Entries {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Entry<'_>> {
        let mut rest = &*self.0;
        std::iter::from_fn(move || {
            let (entry, more) = split(rest)?;
            rest = more;
            Some(Entry {
                key: entry.get(HEAD..)?,
                cell: cell(entry)?,
                bytes: entry,
            })
        })
    }

    /// The cell of that key.
    pub(super) fn find(&self, key: &str) -> Result<Option<Cell>, StorageError> {
        let mut rest = &*self.0;
        // Cells are read only where the key is the one: this is what every request waits for.
        while let Some((entry, more)) = split(rest) {
            if entry.get(HEAD..) == Some(key.as_bytes()) {
                return cell(entry).map(Some).ok_or(StorageError::Corrupt);
            }
            rest = more;
        }
        if rest.is_empty() {
            Ok(None)
        } else {
            Err(StorageError::Corrupt)
        }
    }

    /// The slot's value with that key set to `new`, or without it. Of more than `places` entries that expire,
    /// the ones closest to it make room, but never the one just written.
    pub(super) fn with(
        &self,
        key: &str,
        new: Option<&Cell>,
        places: usize,
    ) -> Result<Vec<u8>, StorageError> {
        let mut others: Vec<Entry<'_>> = self.iter().filter(|e| e.key != key.as_bytes()).collect();
        if new.is_some_and(|cell| cell.expires_at != Cell::NEVER) {
            let expiring = |e: &&Entry<'_>| e.cell.expires_at != Cell::NEVER;
            while others.iter().filter(expiring).count() >= places {
                let first = others
                    .iter()
                    .enumerate()
                    .min_by_key(|(_, entry)| entry.cell.expires_at);
                let Some((i, _)) = first else { break };
                others.remove(i);
            }
        }
        let mut bytes = Vec::with_capacity(self.0.len() + HEAD + key.len());
        if let Some(cell) = new {
            let length = u16::try_from(key.len()).map_err(|_| StorageError::Full)?;
            bytes.extend(length.to_le_bytes());
            bytes.extend(cell.expires_at.to_le_bytes());
            for word in cell.words {
                bytes.extend(word.to_le_bytes());
            }
            bytes.extend(key.as_bytes());
        }
        for entry in others {
            bytes.extend(entry.bytes);
        }
        Ok(bytes)
    }
}

/// The first entry, and the rest.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = u16::from_le_bytes(bytes.first_chunk().copied()?);
    bytes.split_at_checked(HEAD + usize::from(length))
}

fn cell(entry: &[u8]) -> Option<Cell> {
    let word = |i: usize| {
        let start = 2 + 8 * i;
        let bytes = entry.get(start..start + 8)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    };
    let mut words = [0; 6];
    for (i, place) in words.iter_mut().enumerate() {
        *place = word(i + 1)?;
    }
    Some(Cell {
        words,
        expires_at: word(0)?,
    })
}
