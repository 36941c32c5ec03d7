//! The export `egress`.

use remora_core as core;
use uuid::Uuid;

use crate::bindings::exports::remora::egress::egress::{
    self as wit, AcquireError, BreakerChange, Grant, Guest, Lease, LostSession, Outcome, Reason,
    Released, Request, StorageError,
};
use crate::{Plugin, with_engine};

impl Guest for Plugin {
    fn acquire(request: Request) -> Result<Grant, AcquireError> {
        let target = request.target.as_deref();
        #[cfg(feature = "trap")]
        assert!(!target.unwrap_or("").starts_with("trap."), "asked to trap");
        let tags: Vec<&str> = request.tags.iter().map(String::as_str).collect();
        let tried: Vec<Uuid> = request.tried.iter().map(|id| (*id).into()).collect();
        let request = core::Request {
            target: target.unwrap_or(""),
            session: request.session.as_deref(),
            tags: &tags,
            tried: &tried,
        };
        let grant = with_engine(|engine, now| match target {
            Some(_) => engine.acquire(now, &request),
            None => engine.acquire_any(now, &request),
        })?;
        Ok(Grant {
            lease: grant.lease.into(),
            reason: grant.reason.into(),
        })
    }

    fn release(lease: Lease, outcome: Outcome) -> Result<Released, StorageError> {
        let (lease, outcome) = (lease.into(), outcome.into());
        let released = with_engine(|engine, now| engine.release(now, &lease, outcome))?;
        Ok(Released {
            ended_session: released.ended_session,
            breaker: match released.breaker {
                core::BreakerChange::None => BreakerChange::None,
                core::BreakerChange::Opened => BreakerChange::Opened,
                core::BreakerChange::Reopened => BreakerChange::Reopened,
                core::BreakerChange::Closed => BreakerChange::Closed,
                core::BreakerChange::ProbeReturned => BreakerChange::ProbeReturned,
            },
        })
    }
}

impl From<core::Lease> for Lease {
    fn from(lease: core::Lease) -> Self {
        Self {
            key: lease.key,
            proxy: lease.proxy.into(),
            generation: lease.generation,
            era: lease.era,
            probe: lease.probe,
            acquired_at: lease.acquired_at,
            deadline: lease.deadline,
        }
    }
}

impl From<Lease> for core::Lease {
    fn from(lease: Lease) -> Self {
        Self {
            key: lease.key,
            proxy: lease.proxy.into(),
            generation: lease.generation,
            era: lease.era,
            probe: lease.probe,
            acquired_at: lease.acquired_at,
            deadline: lease.deadline,
        }
    }
}

impl From<Outcome> for core::Outcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Success => Self::Success,
            Outcome::Failure => Self::Failure,
            Outcome::Blocked => Self::Blocked,
            Outcome::Cancelled => Self::Cancelled,
        }
    }
}

impl From<core::Reason> for Reason {
    fn from(reason: core::Reason) -> Self {
        match reason {
            core::Reason::Hit => Self::Hit,
            core::Reason::Bound => Self::Bound,
            core::Reason::Adopted => Self::Adopted,
            core::Reason::Rebound(end) => Self::Rebound(end.into()),
            core::Reason::Rotated => Self::Rotated,
        }
    }
}

impl From<core::AcquireError> for AcquireError {
    fn from(error: core::AcquireError) -> Self {
        match error {
            core::AcquireError::Key(error) => Self::Key(error.into()),
            core::AcquireError::NoProxy => Self::NoProxy,
            core::AcquireError::Exhausted { retry_after_ms } => Self::Exhausted(retry_after_ms),
            core::AcquireError::SessionLost {
                end,
                retry_after_ms,
            } => Self::SessionLost(LostSession {
                end: wit::End::from(end),
                retry_after: retry_after_ms,
            }),
            core::AcquireError::Storage(error) => Self::Storage(error.into()),
        }
    }
}
