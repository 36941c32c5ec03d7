//! How much of a processor a plugin may take over time.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::error::PluginError;

/// What can be saved up while nothing is spent.
const SAVINGS: Duration = Duration::from_secs(1);

/// A bucket of running time that fills at `percent` of real time. A call may overdraw it, since nobody knows
/// beforehand how long a call takes; then the next ones wait for it to be in credit again.
pub(crate) struct Budget {
    percent: Option<u32>,
    account: Mutex<Account>,
}

struct Account {
    /// Nanoseconds of running time; below zero when overdrawn.
    balance: i64,
    at: Instant,
}

/// A call that is running: its time is charged when it is dropped.
pub(crate) struct Spending<'a>(Option<(&'a Budget, Instant)>);

impl Budget {
    pub(crate) fn new(percent: Option<u32>) -> Self {
        Self {
            percent: percent.map(|percent| percent.max(1)),
            account: Mutex::new(Account {
                balance: nanos(SAVINGS),
                at: Instant::now(),
            }),
        }
    }

    /// A call begins.
    pub(crate) fn enter(&self) -> Result<Spending<'_>, PluginError> {
        let Some(percent) = self.percent else {
            return Ok(Spending(None));
        };
        let now = Instant::now();
        let mut account = self.account.lock();
        let earned = nanos(now.saturating_duration_since(account.at)) / 100 * i64::from(percent);
        account.at = now;
        account.balance = account.balance.saturating_add(earned).min(nanos(SAVINGS));
        if account.balance > 0 {
            return Ok(Spending(Some((self, now))));
        }
        let missing = account.balance.unsigned_abs() / u64::from(percent) * 100 + 1;
        Err(PluginError::OverBudget {
            percent,
            retry_after: Duration::from_nanos(missing),
        })
    }

    fn charge(&self, spent: Duration) {
        let mut account = self.account.lock();
        account.balance = account.balance.saturating_sub(nanos(spent));
    }
}

impl Drop for Spending<'_> {
    fn drop(&mut self) {
        if let Some((budget, start)) = self.0 {
            budget.charge(start.elapsed());
        }
    }
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_overdrawn_is_paid_back_before_the_next_call() {
        let budget = Budget::new(Some(50));
        budget.charge(Duration::from_secs(3));
        // One second was saved up, two are owed: at half a processor they take four.
        let Err(PluginError::OverBudget { retry_after, .. }) = budget.enter() else {
            panic!("admitted");
        };
        assert!(retry_after > Duration::from_secs(3), "{retry_after:?}");
        assert!(
            retry_after < Duration::from_millis(4_001),
            "{retry_after:?}"
        );
        budget.account.lock().at -= Duration::from_secs(5);
        assert!(budget.enter().is_ok());
    }

    #[test]
    fn without_a_limit_nothing_is_counted() {
        let budget = Budget::new(None);
        budget.charge(Duration::from_secs(3_600));
        assert!(budget.enter().is_ok());
    }

    #[test]
    fn no_more_than_a_second_is_saved_up() {
        let budget = Budget::new(Some(100));
        budget.account.lock().at -= Duration::from_secs(3_600);
        drop(budget.enter());
        budget.charge(SAVINGS);
        assert!(budget.account.lock().balance <= 0);
    }
}
