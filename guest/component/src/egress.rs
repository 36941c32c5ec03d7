//! The export `egress`.

use remora_core as core;
use uuid::Uuid;

use crate::bindings::exports::remora::egress::egress::{
    self as wit, About, AcquireError, Attempt, BreakerChange, Grant, Guest, KeyError, Lease,
    LostSession, Options, OtherChange, Outcome, Reason, Released, Span, StorageError,
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

    fn fallbacks(
        lease: Lease,
        target: String,
        options: Option<Options>,
        limit: u32,
    ) -> Result<Vec<Lease>, StorageError> {
        with_request(Some(&target), options.as_ref(), |request| {
            with_engine(|engine, now| {
                // A request without a target has no key. A malformed one has no lease, and so no fallback.
                let key = match engine.session_key(request) {
                    Err(_) if !request.target.is_empty() => return Ok(Vec::new()),
                    key => key.unwrap_or_default(),
                };
                let limit = limit as usize;
                let fallbacks = engine.fallbacks(now, request, &key, &lease.into(), limit)?;
                Ok(fallbacks.into_iter().map(Lease::from).collect())
            })
        })
    }

    fn settle(attempts: Vec<Attempt>, about: About) -> Result<Released, StorageError> {
        let attempts: Vec<core::Attempt> = attempts.into_iter().map(Into::into).collect();
        let released =
            with_engine(|engine, now| engine.settle(now, &attempts, &about.key, &about.target))?;
        for attempt in &attempts {
            A::after_attempt(&attempt.permit, attempt.outcome);
        }
        Ok(released.into())
    }

    fn release(
        lease: Lease,
        outcome: Outcome,
        about: Option<About>,
    ) -> Result<Released, StorageError> {
        let (permit, outcome) = (core::Permit::from(lease), core::Outcome::from(outcome));
        let about = about.as_ref();
        let (key, target) = about.map_or(("", ""), |about| (&about.key, &about.target));
        let released = ENGINE.with_borrow_mut(|engine| {
            let now = if engine.looks_at_time(&permit, outcome) {
                crate::now()
            } else {
                0
            };
            engine.release(now, &permit, key, target, outcome)
        })?;
        A::after_attempt(&permit, outcome);
        Ok(released.into())
    }

    fn holds(lease: Lease, key: String) -> Result<bool, StorageError> {
        with_engine(|engine, now| Ok(engine.holds(now, &lease.into(), &key)?))
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
        is_repeatable: options.repeatable,
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
            doubted: permit.is_doubted,
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
            is_doubted: lease.doubted,
        }
    }
}

impl From<Attempt> for core::Attempt {
    fn from(attempt: Attempt) -> Self {
        Self {
            permit: attempt.lease.into(),
            outcome: attempt.outcome.into(),
        }
    }
}

impl From<Outcome> for core::Outcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Success => Self::Success,
            Outcome::Failure => Self::Failure,
            Outcome::Blocked => Self::Blocked,
            Outcome::Ambiguous => Self::Ambiguous,
            Outcome::TimedOut => Self::TimedOut,
            Outcome::Inconclusive => Self::Inconclusive,
            Outcome::Cancelled => Self::Cancelled,
        }
    }
}

impl From<core::BreakerChange> for BreakerChange {
    fn from(change: core::BreakerChange) -> Self {
        match change {
            core::BreakerChange::None => Self::None,
            core::BreakerChange::Opened => Self::Opened,
            core::BreakerChange::Reopened => Self::Reopened,
            core::BreakerChange::Closed => Self::Closed,
            core::BreakerChange::ProbeReturned => Self::ProbeReturned,
        }
    }
}

impl From<core::Released> for Released {
    fn from(released: core::Released) -> Self {
        let others = released.others.into_iter();
        let others = others.map(|(proxy, change)| OtherChange {
            proxy: proxy.into(),
            change: change.into(),
        });
        Self {
            ended_session: released.ended_session,
            breaker: released.breaker.into(),
            others: others.collect(),
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
