//! How much of a processor a plugin may take over time.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::error::PluginError;

/// What can be saved up while nothing is spent.
const SAVINGS: Duration = Duration::from_secs(1);

/// What can be owed for calls that should not be refused: a thousand requests that are in flight can be released by a
/// plugin that takes 10 ms for each, and one that runs to its limit in each is not let do that for minutes.
const DEBT: Duration = Duration::from_secs(10);

/// A bucket of running time that fills at `percent` of real time. A call may overdraw it, since nobody knows
/// beforehand how long a call takes; then the next ones wait for it to be in credit again. Some should not be refused, since
/// what was decided has to be heard of: they may overdraw it by [`DEBT`], which the others then wait for, too.
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

    /// A call begins that can wait.
    pub(crate) fn enter(&self) -> Result<Spending<'_>, PluginError> {
        self.begin(0)
    }

    /// A call begins that should not be refused.
    pub(crate) fn overdraw(&self) -> Result<Spending<'_>, PluginError> {
        self.begin(-nanos(DEBT))
    }

    /// A call begins if there is more than that.
    fn begin(&self, least: i64) -> Result<Spending<'_>, PluginError> {
        let Some(percent) = self.percent else {
            return Ok(Spending(None));
        };
        let now = Instant::now();
        let mut account = self.account.lock();
        let earned = nanos(now.saturating_duration_since(account.at)) / 100 * i64::from(percent);
        account.at = now;
        account.balance = account.balance.saturating_add(earned).min(nanos(SAVINGS));
        if account.balance > least {
            return Ok(Spending(Some((self, now))));
        }
        let missing = least.abs_diff(account.balance) / u64::from(percent) * 100 + 1;
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
    fn a_call_that_should_not_be_refused_is_charged_and_has_an_end() {
        let budget = Budget::new(Some(50));
        budget.charge(Duration::from_secs(3));
        assert!(budget.enter().is_err());
        let before = budget.account.lock().balance;
        let spending = budget.overdraw().unwrap();
        budget.charge(DEBT);
        drop(spending);
        assert!(budget.account.lock().balance < before - nanos(DEBT) / 2);
        // Two seconds are owed beyond what may be; then the rest of them.
        for (refused, seconds) in [(budget.overdraw(), 4), (budget.enter(), 24)] {
            let Err(PluginError::OverBudget { retry_after, .. }) = refused else {
                panic!("admitted");
            };
            assert_eq!(retry_after.as_secs_f64().round() as u64, seconds);
        }
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
