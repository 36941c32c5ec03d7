//! Keys and values as they stand in Redis.
//!
//! All keys of a tenant share the hash tag `{prefix}`, and so one slot of a cluster: one node decides over them, two
//! can be loaded at once, and an entry and its place in the table's index change together.
//!
//! | key | type | what it holds |
//! |---|---|---|
//! | `{prefix}:T:key` | string | an entry of table `T`: its seven numbers, little-endian, and the mark of its last change |
//! | `{prefix}:T` | sorted set | the table's keys by their expiry, `+inf` for those that have none |
//! | `{prefix}:nothing` | | never set |

use remora_core::{Cell, StorageError, Table};

/// What a cell takes.
pub(super) const CELL: usize = 56;
/// A cell, and the mark of the change that wrote it.
const VALUE: usize = CELL + 8;

/// How long after its expiry the server drops an entry: a machine whose clock is behind still finds it.
pub(super) const GRACE_MS: u64 = 60_000;

/// Far in the future, and still a number that the server takes and counts exactly.
const FAR: u64 = 1 << 52;

/// The keys of one tenant.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    tag: String,
}

impl Layout {
    pub(super) fn new(prefix: &str) -> Self {
        Self {
            tag: format!("{{{prefix}}}:"),
        }
    }

    /// The key of a table's index.
    pub(super) fn index(&self, table: Table) -> String {
        format!("{}{}", self.tag, table.index())
    }

    /// A key that is never set: what may be changed without changing anything.
    pub(super) fn nothing(&self) -> String {
        format!("{}nothing", self.tag)
    }

    /// What the keys of a table's entries begin with.
    pub(super) fn entries(&self, table: Table) -> String {
        format!("{}{}:", self.tag, table.index())
    }

    pub(super) fn entry(&self, table: Table, key: &str) -> String {
        format!("{}{}:{key}", self.tag, table.index())
    }
}

pub(super) fn encode(cell: &Cell) -> [u8; CELL] {
    let [a, b, c, d, e, f] = cell.words;
    let mut bytes = [0; CELL];
    let words = [a, b, c, d, e, f, cell.expires_at];
    for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

/// An entry's value: its cell, and a mark that tells this change from every other.
pub(super) fn encode_marked(cell: &Cell, mark: u64) -> [u8; VALUE] {
    let mut bytes = [0; VALUE];
    bytes[..CELL].copy_from_slice(&encode(cell));
    bytes[CELL..].copy_from_slice(&mark.to_le_bytes());
    bytes
}

pub(super) fn decode(bytes: &[u8]) -> Result<Cell, StorageError> {
    let bytes: &[u8; VALUE] = bytes.try_into().map_err(|_| StorageError::Corrupt)?;
    let mut words = [0; 7];
    for (word, place) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        let place = place.try_into().map_err(|_| StorageError::Corrupt)?;
        *word = u64::from_le_bytes(place);
    }
    let [a, b, c, d, e, f, expires_at] = words;
    Ok(Cell {
        words: [a, b, c, d, e, f],
        expires_at,
    })
}

/// When the server may drop it, and its place in the index; empty and `+inf` for an entry that must stay.
pub(super) fn expiry(cell: &Cell) -> (String, String) {
    if cell.expires_at == Cell::NEVER {
        return (String::new(), "+inf".into());
    }
    let score = cell.expires_at.min(FAR);
    ((score + GRACE_MS).to_string(), score.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_survives_the_round_trip_and_anything_else_is_corrupt() {
        let cell = Cell {
            words: [1, u64::MAX, 3, 0, 5, 1 << 40],
            expires_at: 7,
        };
        assert_eq!(decode(&encode_marked(&cell, 9)), Ok(cell));
        for bytes in [&b""[..], &[0; CELL], &[0; VALUE + 1], b"hello"] {
            assert_eq!(decode(bytes), Err(StorageError::Corrupt));
        }
    }

    #[test]
    fn an_expiry_is_a_number_that_the_server_takes() {
        let at = |expires_at| {
            expiry(&Cell {
                words: [0; 6],
                expires_at,
            })
        };
        assert_eq!(at(5), ("60005".into(), "5".into()));
        assert_eq!(at(Cell::NEVER), (String::new(), "+inf".into()));
        assert_eq!(at(Cell::NEVER - 1).1, FAR.to_string());
    }
}
