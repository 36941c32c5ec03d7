//! Short sorted lists. Each sort of the standard library is 4 to 9 KB of a guest.

use alloc::vec::Vec;

/// Inserts it where it belongs, unless it is there.
pub(crate) fn insert<T: Ord>(sorted: &mut Vec<T>, item: T) {
    if let Err(at) = sorted.binary_search(&item) {
        sorted.insert(at, item);
    }
}
