//! Each admitted proxy in turn.

use super::Field;
use crate::storage::{Storage, StorageError};

pub(super) fn pick<S: Storage>(field: &mut Field<'_, S>) -> Result<Option<usize>, StorageError> {
    let start = field.draw.position % (field.len() as u64).max(1);
    field.first_admitted_from(start as usize)
}
