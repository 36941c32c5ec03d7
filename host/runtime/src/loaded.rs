//! The code that a runtime holds, by the bytes it was made of: tenants that bring the same plugin share it,
//! whatever their files are called.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use crate::error::PluginError;

type Fingerprint = [u8; 32];

/// Code that is in use. It goes with the last plugin that has it.
pub(crate) struct Loaded<T>(Mutex<HashMap<Fingerprint, Arc<Place<T>>>>);

/// Locked while its code is made, so that it is made once.
type Place<T> = Mutex<Weak<T>>;

impl<T> Default for Loaded<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Loaded<T> {
    /// The code of these bytes, made unless it is there. What cannot be made is tried again by the next one.
    pub(crate) fn get(
        &self,
        bytes: &[u8],
        make: impl FnOnce() -> Result<T, PluginError>,
    ) -> Result<Arc<T>, PluginError> {
        let place = self.place(Sha256::digest(bytes).into());
        let mut code = place.lock();
        if let Some(code) = code.upgrade() {
            return Ok(code);
        }
        let made = Arc::new(make()?);
        *code = Arc::downgrade(&made);
        Ok(made)
    }

    fn place(&self, fingerprint: Fingerprint) -> Arc<Place<T>> {
        let mut places = self.0.lock();
        // Nobody else has a place that only the map has: its lock is free.
        places.retain(|_, place| Arc::strong_count(place) > 1 || place.lock().strong_count() > 0);
        places.entry(fingerprint).or_default().clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn those_who_bring_the_same_bytes_at_once_wait_for_one_to_make_the_code() {
        let loaded = Loaded::default();
        let (made, together) = (AtomicUsize::new(0), Barrier::new(8));
        let bring = || {
            together.wait();
            let make = || Ok(made.fetch_add(1, Ordering::SeqCst));
            loaded.get(b"the same", make).unwrap()
        };
        let codes: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(bring)).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert_eq!(made.into_inner(), 1);
        assert!(codes.iter().all(|code| Arc::ptr_eq(code, &codes[0])));
    }

    #[test]
    fn other_bytes_are_other_code() {
        let loaded = Loaded::default();
        let one = loaded.get(b"one", || Ok(1)).unwrap();
        let two = loaded.get(b"two", || Ok(2)).unwrap();
        assert_eq!((*one, *two), (1, 2));
    }

    #[test]
    fn code_that_nobody_uses_any_more_is_gone_and_forgotten() {
        let loaded = Loaded::default();
        let first = loaded.get(b"one", || Ok(1)).unwrap();
        let watch = Arc::downgrade(&first);
        drop(first);
        assert!(watch.upgrade().is_none());
        let _two = loaded.get(b"two", || Ok(2)).unwrap();
        assert_eq!(loaded.0.lock().len(), 1);
        assert_eq!(*loaded.get(b"one", || Ok(3)).unwrap(), 3);
    }

    #[test]
    fn what_could_not_be_made_is_made_by_the_next_one() {
        let loaded = Loaded::default();
        let refused = loaded.get(b"one", || Err::<u8, _>(PluginError::Start("no".into())));
        assert!(refused.is_err());
        assert_eq!(*loaded.get(b"one", || Ok(1)).unwrap(), 1);
    }
}
