//! Bounds of the fields that a shell reads and the engine does not see as they were written.

use crate::error::Invalid;
use crate::policy::MAX_TTL_MS;
use crate::text::time;

/// The default of `retry.attempts`: the number of proxies that a request may try beyond the first.
pub const RETRY_ATTEMPTS: u32 = 2;

/// The maximum of `retry.attempts`.
const MAX_RETRY_ATTEMPTS: u32 = 10;

/// Checks `retry.attempts`.
///
/// # Errors
///
/// [`Invalid`] for more than 10.
pub fn check_retry_attempts(attempts: u32) -> Result<(), Invalid> {
    if attempts > MAX_RETRY_ATTEMPTS {
        return Err(Invalid::new("retry.attempts", attempts, "0 to 10"));
    }
    Ok(())
}

/// Checks a time to live, in milliseconds; `field` is its name. Also one that has no effect, beside
/// [`Mode::Disabled`](crate::Mode::Disabled).
///
/// # Errors
///
/// [`Invalid`] for more than [`MAX_TTL_MS`].
pub fn check_ttl(field: &str, ttl_ms: u64) -> Result<(), Invalid> {
    if ttl_ms > MAX_TTL_MS {
        return Err(Invalid::new(field, time(ttl_ms), "up to 366 days"));
    }
    Ok(())
}

/// Checks `breaker.max_half_open_after`, in milliseconds, where it is set: the default gives way to a longer
/// `half_open_after`.
///
/// # Errors
///
/// [`Invalid`] for less than `half_open_after`.
pub fn check_max_half_open_after(max_ms: u64, half_open_after_ms: u64) -> Result<(), Invalid> {
    if max_ms < half_open_after_ms {
        let accepted = "at least `breaker.half_open_after`, which is 30s unless it is set";
        let field = "breaker.max_half_open_after";
        return Err(Invalid::new(field, time(max_ms), accepted));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn error(result: Result<(), Invalid>) -> alloc::string::String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn retry_attempts_are_0_to_10() {
        assert_eq!(check_retry_attempts(0), Ok(()));
        assert_eq!(check_retry_attempts(10), Ok(()));
        let eleven = error(check_retry_attempts(11));
        assert_eq!(eleven, "`retry.attempts` is `11`; accepted: 0 to 10");
    }

    #[test]
    fn ttl_is_up_to_366_days() {
        assert_eq!(check_ttl("sticky.ttl", MAX_TTL_MS), Ok(()));
        let longer = error(check_ttl("sticky.ttl", MAX_TTL_MS + 86_400_000));
        assert_eq!(longer, "`sticky.ttl` is `367d`; accepted: up to 366 days");
    }

    #[test]
    fn max_half_open_after_is_half_open_after_at_least() {
        assert_eq!(check_max_half_open_after(30_000, 30_000), Ok(()));
        let shorter = error(check_max_half_open_after(10_000, 30_000));
        assert!(shorter.starts_with("`breaker.max_half_open_after` is `10s`; accepted: at least"));
    }
}
