//! The export `egress`.

use remora_core as core;
use uuid::Uuid;

use crate::bindings::exports::remora::egress::egress::{
    self as wit, AcquireError, BreakerChange, Grant, Guest, KeyError, Lease, LostSession, Options,
    Outcome, Reason, Released, Span, StorageError,
};
use crate::{Addition, ENGINE, Shell, with_engine};

impl<A: Addition> Guest for Shell<A> {
    fn acquire(target: Option<String>, options: Option<Options>) -> Result<Grant, AcquireError> {
        #[cfg(feature = "trap")]
        assert!(
            !target.as_deref().unwrap_or("").starts_with("trap."),
            "asked to trap"
        );
        with_request(target.as_deref(), options.as_ref(), |request| {
            with_engine(|engine, now| {
                A::before_acquire(engine, now);
                let decided = match target {
                    Some(_) => engine.permit(now, request)?,
                    None => engine.permit_any(now, request)?,
                };
                Ok(Grant {
                    lease: decided.permit.into(),
                    reason: decided.reason.into(),
                    session: decided.session.map(|session| Span {
                        bound_at: session.bound_at,
                        expires_at: session.expires_at,
                    }),
                    key_is_target: engine.last_key() == request.target,
                })
            })
        })
    }

    fn session_key(target: String, options: Option<Options>) -> Result<String, KeyError> {
        with_request(Some(&target), options.as_ref(), |request| {
            ENGINE.with_borrow(|engine| Ok(engine.session_key(request)?))
        })
    }

    fn release(lease: Lease, outcome: Outcome) -> Result<Released, StorageError> {
        let (outcome, key) = match &outcome {
            Outcome::Success => (core::Outcome::Success, ""),
            Outcome::Failure(key) => (core::Outcome::Failure, key.as_str()),
            Outcome::Blocked(key) => (core::Outcome::Blocked, key.as_str()),
            Outcome::Cancelled => (core::Outcome::Cancelled, ""),
        };
        let permit = lease.into();
        let released = ENGINE.with_borrow_mut(|engine| {
            let now = if engine.looks_at_time(outcome) {
                crate::now()
            } else {
                0
            };
            engine.settle(now, &permit, key, outcome)
        })?;
        A::after_release(&permit, outcome);
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

/// Runs `f` on the request in the core's words.
fn with_request<T>(
    target: Option<&str>,
    options: Option<&Options>,
    f: impl FnOnce(&core::Request<'_>) -> T,
) -> T {
    let target = target.unwrap_or("");
    let Some(options) = options else {
        return f(&core::Request {
            target,
            ..core::Request::default()
        });
    };
    let tags: Vec<&str> = options.tags.iter().map(String::as_str).collect();
    let tried: Vec<Uuid> = options.tried.iter().map(|id| (*id).into()).collect();
    f(&core::Request {
        target,
        session: options.session.as_deref(),
        tags: &tags,
        tried: &tried,
        ttl_ms: options.ttl,
    })
}

impl From<core::Permit> for Lease {
    fn from(permit: core::Permit) -> Self {
        Self {
            proxy: permit.proxy.into(),
            generation: permit.generation,
            era: permit.era,
            probe: permit.probe,
            acquired_at: permit.acquired_at,
            deadline: permit.deadline,
        }
    }
}

impl From<Lease> for core::Permit {
    fn from(lease: Lease) -> Self {
        Self {
            proxy: lease.proxy.into(),
            generation: lease.generation,
            era: lease.era,
            probe: lease.probe,
            acquired_at: lease.acquired_at,
            deadline: lease.deadline,
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
