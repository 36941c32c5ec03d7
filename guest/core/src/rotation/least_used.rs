//! The admitted proxy with the fewest requests in flight.

use alloc::vec::Vec;

use super::Field;
use crate::storage::{Storage, StorageError};

/// How many candidates are compared. Exact for a pool up to this size; in a larger one the best of
/// this many neighbours at a random place, which is as good in practice ("the power of two choices",
/// with more than two) and keeps a bind's cost flat.
const COMPARED: usize = 64;

pub(super) fn pick<S: Storage>(field: &mut Field<'_, S>) -> Result<Option<usize>, StorageError> {
    let n = field.len();
    let start = field.random_place(0);
    let mut candidates: Vec<(u64, usize)> = Vec::new();
    for i in (start..n).chain(0..start) {
        if candidates.len() == COMPARED {
            break;
        }
        if field.is_candidate(i) {
            candidates.push((field.in_flight(i)?, i));
        }
    }
    // The first minimum: among equals the random start decides. (A sort would be 8 KB of the guest.)
    while let Some(least) = (0..candidates.len()).min_by_key(|at| candidates[*at].0) {
        let (_, i) = candidates.remove(least);
        if field.admits(i)? {
            return Ok(Some(i));
        }
    }
    field.first_admitted_from(start)
}
