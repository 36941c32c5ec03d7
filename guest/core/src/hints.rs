//! Which proxy a key was bound to when it was last seen here.
//!
//! A hit needs two stored values, the session and its proxy's breaker, and the second one's key is known
//! only from the first. A good guess lets both be loaded in one go: one call out of the guest instead of
//! two, and one round trip where the storage is remote. A wrong guess costs one more load and decides
//! nothing.

use alloc::boxed::Box;
use core::hash::BuildHasher;

use hashbrown::DefaultHashBuilder;

/// A power of two: the size of the table of guesses, each four bytes.
const PLACES: usize = 4_096;

/// Guesses, by the hash of the key. Keys whose hashes collide overwrite each other's.
#[derive(Debug, Default)]
pub(crate) struct Hints {
    hasher: DefaultHashBuilder,
    /// A place in the pool, plus one; 0 for none. Empty until the first guess is noted.
    proxies: Box<[u32]>,
}

impl Hints {
    /// The place in the pool of the proxy that the key is probably bound to.
    pub(crate) fn guess(&self, key: &str) -> Option<usize> {
        let noted = *self.proxies.get(self.place(key))?;
        (noted as usize).checked_sub(1)
    }

    pub(crate) fn note(&mut self, key: &str, proxy: usize) {
        if self.proxies.is_empty() {
            self.proxies = alloc::vec![0; PLACES].into_boxed_slice();
        }
        let place = self.place(key);
        if let Some(noted) = self.proxies.get_mut(place) {
            // A pool of 2^32 proxies has no room in a guest's memory.
            *noted = proxy as u32 + 1;
        }
    }

    fn place(&self, key: &str) -> usize {
        self.hasher.hash_one(key) as usize % PLACES
    }
}
