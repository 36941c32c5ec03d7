//! Any admitted proxy, each as likely.

use super::Field;
use crate::storage::{Storage, StorageError};

/// How many places are tried at random before the pool is walked in order. While most of the pool is
/// admitted the walk is rare, so what it favours (the neighbours of refused proxies) does not show.
const TRIES: u64 = 16;

pub(super) fn pick<S: Storage>(field: &mut Field<'_, S>) -> Result<Option<usize>, StorageError> {
    if field.len() == 0 {
        return Ok(None);
    }
    for salt in 1..=TRIES {
        let i = field.random_place(salt);
        if field.admits(i)? {
            return Ok(Some(i));
        }
    }
    field.first_admitted_from(field.random_place(TRIES + 1))
}
