//! How much a tenant may ask for at a time, and in a second.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use crate::config::Caps;

/// Lets requests in, or not.
pub(crate) struct Admission {
    caps: Caps,
    in_flight: Arc<AtomicUsize>,
    rate: Option<Arc<DefaultDirectRateLimiter>>,
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission")
            .field("caps", &self.caps)
            .field("in_flight", &self.in_flight)
            .finish_non_exhaustive()
    }
}

/// What a request occupies until it is over.
pub(crate) struct Place(Arc<AtomicUsize>);

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Place")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Which limit a request goes beyond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beyond {
    /// As many as may be are in flight.
    Concurrent(usize),
    /// As many as may begin in a second have begun.
    Rate {
        /// How many may.
        per_second: NonZeroU32,
        /// When the next one may.
        retry_after: Duration,
    },
}

impl Beyond {
    /// The name of the limit, as in the file.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Concurrent(_) => "concurrent-requests",
            Self::Rate { .. } => "requests-per-second",
        }
    }
}

impl fmt::Display for Beyond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Concurrent(most) => {
                write!(
                    f,
                    "your limit of {most} requests and tunnels at a time is reached"
                )
            }
            Self::Rate { per_second, .. } => {
                write!(
                    f,
                    "your limit of {per_second} requests in a second is reached"
                )
            }
        }
    }
}

impl Admission {
    pub(crate) fn new(caps: Caps) -> Self {
        let rate = caps.per_second.map(Quota::per_second);
        Self {
            caps,
            in_flight: Arc::default(),
            rate: rate.map(|quota| Arc::new(RateLimiter::direct(quota))),
        }
    }

    /// Other limits for the same tenant: what is in flight stays counted.
    pub(crate) fn following(caps: Caps, before: &Self) -> Self {
        let same_rate = caps.per_second == before.caps.per_second;
        let new = Self::new(caps);
        Self {
            caps,
            in_flight: before.in_flight.clone(),
            rate: if same_rate {
                before.rate.clone()
            } else {
                new.rate
            },
        }
    }

    /// Lets a request in.
    pub(crate) fn admit(&self) -> Result<Place, Beyond> {
        let place = Place(self.in_flight.clone());
        if place.0.fetch_add(1, Ordering::Relaxed) >= self.caps.concurrent {
            return Err(Beyond::Concurrent(self.caps.concurrent));
        }
        if let (Some(rate), Some(per_second)) = (&self.rate, self.caps.per_second)
            && let Err(not_until) = rate.check()
        {
            return Err(Beyond::Rate {
                per_second,
                retry_after: not_until.wait_time_from(DefaultClock::default().now()),
            });
        }
        Ok(place)
    }

    /// How many requests are in flight.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_its_limit_a_tenant_waits_for_a_request_to_end() {
        let caps = |concurrent| Caps {
            concurrent,
            per_second: None,
        };
        let admission = Admission::new(caps(2));
        let first = admission.admit().unwrap();
        let _second = admission.admit().unwrap();
        assert_eq!(admission.admit().unwrap_err(), Beyond::Concurrent(2));
        let more = Admission::following(caps(3), &admission);
        let third = more.admit().unwrap();
        assert_eq!(more.admit().unwrap_err(), Beyond::Concurrent(3));
        drop((first, third));
        assert_eq!(more.in_flight(), 1);
        assert!(admission.admit().is_ok());
    }

    #[test]
    fn beyond_its_rate_a_tenant_hears_when_the_next_request_may_begin() {
        let one = NonZeroU32::MIN;
        let admission = Admission::new(Caps {
            concurrent: 10,
            per_second: Some(one),
        });
        assert!(admission.admit().is_ok());
        let Err(Beyond::Rate { retry_after, .. }) = admission.admit() else {
            panic!("admitted");
        };
        assert!(retry_after > Duration::ZERO && retry_after <= Duration::from_secs(1));
        assert_eq!(admission.in_flight(), 0, "who is refused occupies nothing");
    }
}
