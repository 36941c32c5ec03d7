//! Rule 13, strikes: the ambiguous ends that an exit has counted since it last served a request.
//!
//! Each target counts once, so that no single target opens a breaker, and two strikes are at least `strike_gap` apart, so
//! that a burst against targets of an attacker's own does not either.

use core::hash::Hasher;

use fnv::FnvHasher;

use crate::key;

/// How many targets a row remembers: the default `open_threshold`.
const TARGETS: u32 = 5;
/// The width of a target's hash.
const HASH_BITS: u32 = 12;
const HASH_MASK: u64 = (1 << HASH_BITS) - 1;

/// Twelve bits of a target's site, never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SiteHash(u64);

impl SiteHash {
    /// The hash of the site of a normalised host: an attacker's wildcard domain is one target.
    pub(crate) fn of(host: &str) -> Self {
        let mut hasher = FnvHasher::default();
        hasher.write(key::site_or_last_labels(host).as_bytes());
        Self(hasher.finish() % HASH_MASK + 1)
    }
}

/// A row of strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Strikes {
    /// How many there are.
    pub(crate) count: u32,
    /// Whether another exit has shown that the fault is the exit's.
    pub(crate) witnessed: bool,
    /// When the last one was counted, in milliseconds since the Unix epoch.
    pub(crate) counted_at: u64,
    /// The hashes of the targets that were counted last, the newest lowest.
    pub(crate) targets: u64,
}

impl Strikes {
    /// The row of an exit that has just served a request.
    pub(crate) const NONE: Self = Self {
        count: 0,
        witnessed: false,
        counted_at: 0,
        targets: 0,
    };

    /// The row after one more ambiguous end. `worse`: another exit answered the same request.
    pub(crate) fn after(mut self, now: u64, site: SiteHash, worse: bool, gap_ms: u64) -> Self {
        let is_apart = self.count == 0 || now >= self.counted_at.saturating_add(gap_ms);
        if is_apart && !self.has(site) {
            let kept = (1 << (TARGETS * HASH_BITS)) - 1;
            self.targets = (self.targets << HASH_BITS | site.0) & kept;
            self.count = self.count.saturating_add(1);
            self.counted_at = now;
        }
        self.witnessed |= worse && self.count > 0;
        self
    }

    /// The row after another exit has answered for a target that this one did not answer for.
    pub(crate) fn seen_by_witness(mut self) -> Self {
        self.witnessed |= self.count > 0;
        self
    }

    /// Whether it opens a breaker.
    pub(crate) fn is_enough(&self, threshold: u32) -> bool {
        self.witnessed && self.count >= threshold
    }

    fn has(&self, site: SiteHash) -> bool {
        (0..TARGETS).any(|i| self.targets >> (i * HASH_BITS) & HASH_MASK == site.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strike(row: Strikes, now: u64, host: &str) -> Strikes {
        row.after(now, SiteHash::of(host), false, 200)
    }

    #[test]
    fn each_target_counts_once() {
        let row = strike(Strikes::NONE, 0, "a.example");
        for (now, host) in [(1_000, "a.example"), (2_000, "a.example")] {
            assert_eq!(strike(row, now, host), row);
        }
        assert_eq!(strike(row, 1_000, "b.test").count, 2);
    }

    #[test]
    fn strikes_count_once_in_a_gap() {
        let row = strike(Strikes::NONE, 1_000, "a.test");
        assert_eq!(strike(row, 1_199, "b.example"), row);
        assert_eq!(strike(row, 1_200, "b.example").count, 2);
    }

    #[test]
    fn a_worse_end_is_a_witness_also_where_it_does_not_count() {
        let row = strike(Strikes::NONE, 0, "a.example");
        assert!(!row.is_enough(1));
        let again = row.after(1, SiteHash::of("a.example"), true, 200);
        assert_eq!((again.count, again.witnessed), (1, true));
        assert!(again.is_enough(1));
        assert!(!again.is_enough(2));
    }

    #[test]
    fn a_witness_of_nothing_says_nothing() {
        assert_eq!(Strikes::NONE.seen_by_witness(), Strikes::NONE);
    }

    #[test]
    fn subdomains_of_one_site_are_one_target() {
        for (one, two) in [("a.evil.example", "b.c.evil.example"), ("x.test", "x.test")] {
            assert_eq!(SiteHash::of(one), SiteHash::of(two));
        }
        assert_ne!(SiteHash::of("192.0.2.1"), SiteHash::of("192.0.3.1"));
    }
}
