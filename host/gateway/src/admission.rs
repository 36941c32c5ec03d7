//! Admission: limits on the concurrent requests and the request rate of a tenant.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use crate::config::TenantLimits;

/// Admits requests, or refuses them.
pub(crate) struct Admission {
    limits: TenantLimits,
    in_flight: Arc<AtomicUsize>,
    rate: Option<Arc<DefaultDirectRateLimiter>>,
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission")
            .field("limits", &self.limits)
            .field("in_flight", &self.in_flight)
            .finish_non_exhaustive()
    }
}

/// Held until the request or its tunnel is over.
pub(crate) struct InFlightPermit(Arc<AtomicUsize>);

impl fmt::Debug for InFlightPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InFlightPermit")
    }
}

impl Drop for InFlightPermit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The limit that a request exceeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LimitExceeded {
    /// The maximum number of requests is in flight.
    Concurrent(usize),
    /// The maximum number of requests has begun within a second.
    Rate {
        /// The limit.
        per_second: NonZeroU32,
        /// The time until the next request may begin.
        retry_after: Duration,
    },
}

impl LimitExceeded {
    /// The name of the limit, as a metric's label.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Concurrent(_) => "concurrent-requests",
            Self::Rate { .. } => "requests-per-second",
        }
    }
}

impl fmt::Display for LimitExceeded {
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
    pub(crate) fn new(limits: TenantLimits) -> Self {
        let rate = limits.per_second.map(Quota::per_second);
        Self {
            limits,
            in_flight: Arc::default(),
            rate: rate.map(|quota| Arc::new(RateLimiter::direct(quota))),
        }
    }

    /// Other limits for the same tenant: requests in flight stay counted.
    pub(crate) fn following(limits: TenantLimits, before: &Self) -> Self {
        let same_rate = limits.per_second == before.limits.per_second;
        let new = Self::new(limits);
        Self {
            limits,
            in_flight: before.in_flight.clone(),
            rate: if same_rate {
                before.rate.clone()
            } else {
                new.rate
            },
        }
    }

    /// Admits a request.
    pub(crate) fn admit(&self) -> Result<InFlightPermit, LimitExceeded> {
        let permit = InFlightPermit(self.in_flight.clone());
        if permit.0.fetch_add(1, Ordering::Relaxed) >= self.limits.concurrent {
            return Err(LimitExceeded::Concurrent(self.limits.concurrent));
        }
        if let (Some(rate), Some(per_second)) = (&self.rate, self.limits.per_second)
            && let Err(not_until) = rate.check()
        {
            return Err(LimitExceeded::Rate {
                per_second,
                retry_after: not_until.wait_time_from(DefaultClock::default().now()),
            });
        }
        Ok(permit)
    }

    /// Number of requests in flight.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn concurrency_limit_is_freed_when_a_request_ends() {
        let limits = |concurrent| TenantLimits {
            concurrent,
            per_second: None,
        };
        let admission = Admission::new(limits(2));
        let first = admission.admit().unwrap();
        let _second = admission.admit().unwrap();
        assert_eq!(admission.admit().unwrap_err(), LimitExceeded::Concurrent(2));
        let more = Admission::following(limits(3), &admission);
        let third = more.admit().unwrap();
        assert_eq!(more.admit().unwrap_err(), LimitExceeded::Concurrent(3));
        drop((first, third));
        assert_eq!(more.in_flight(), 1);
        assert!(admission.admit().is_ok());
    }

    #[test]
    fn rate_limit_tells_when_the_next_request_may_begin() {
        let one = NonZeroU32::MIN;
        let admission = Admission::new(TenantLimits {
            concurrent: 10,
            per_second: Some(one),
        });
        assert!(admission.admit().is_ok());
        let Err(LimitExceeded::Rate { retry_after, .. }) = admission.admit() else {
            panic!("admitted");
        };
        assert!(retry_after > Duration::ZERO && retry_after <= Duration::from_secs(1));
        assert_eq!(
            admission.in_flight(),
            0,
            "a refused request holds no permit"
        );
    }
}
