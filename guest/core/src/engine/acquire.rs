//! Acquire: rules 2, 3, 4, 6 and 9.

use alloc::string::String;

use super::pick::Choice;
use super::{Decided, Engine, Grant, Lease, Permit, Request, Span};
use crate::breaker::AdmissionToken;
use crate::end::End;
use crate::error::{AcquireError, KeyError};
use crate::gate;
use crate::in_flight;
use crate::key::{self, Scope};
use crate::policy::{MAX_TTL_MS, OnBad, Sticky};
use crate::pool::Wanted;
use crate::rotation::StrategyKind;
use crate::session::{Reason, Session};
use crate::storage::{Storage, StorageError, Table};
use crate::table::{self, Seen};

/// How often an acquire looks again at a key that others change, or at a cursor that others move.
pub(super) const ATTEMPTS: usize = 1_000;

/// The breaker of the proxy that a key was thought to be bound to.
struct Guessed {
    proxy: usize,
    breaker: gate::Seen,
}

/// Where a key stands.
enum Standing {
    /// It has no session on record.
    Vacant,
    /// Its session is live, on this place in the pool.
    Live(Session, usize),
    /// Its session's probe was given up; it goes on if it gets the next one.
    Awaiting(Session, usize, gate::Seen),
    /// Its session has ended.
    Ended(Session, End),
}

impl<S: Storage> Engine<S> {
    /// Decides through which proxy a request goes.
    ///
    /// # Errors
    ///
    /// [`AcquireError`] says why it cannot go, and when to try again.
    pub fn acquire(&mut self, now: u64, request: &Request<'_>) -> Result<Grant, AcquireError> {
        let decided = self.permit(now, request)?;
        Ok(decided.under(self.key.clone()))
    }

    /// [`Engine::acquire`] without a copy of the key, which is at [`Engine::last_key`] until the next
    /// call.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn permit(&mut self, now: u64, request: &Request<'_>) -> Result<Decided, AcquireError> {
        let mut key = core::mem::take(&mut self.key);
        key.clear();
        let granted = self
            .set_key(&mut key, request)
            .map_err(AcquireError::from)
            .and_then(|policy| match policy {
                Some(policy) => self.stay_or_bind(now, &key, &policy, request),
                None => self.rotate(now, &key, request),
            });
        self.key = key;
        self.counted(now, granted?)
    }

    /// Takes the next proxy for a request that has no target: no session, whatever the policy.
    /// `target` and `session` of the request are not looked at.
    ///
    /// # Errors
    ///
    /// [`AcquireError`] says why it cannot go, and when to try again.
    pub fn acquire_any(&mut self, now: u64, request: &Request<'_>) -> Result<Grant, AcquireError> {
        Ok(self.permit_any(now, request)?.under(String::new()))
    }

    /// [`Engine::acquire_any`] for shells.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn permit_any(&mut self, now: u64, request: &Request<'_>) -> Result<Decided, AcquireError> {
        self.key.clear();
        let decided = self.rotate(now, "", request)?;
        self.counted(now, decided)
    }

    /// The session key of the last request.
    pub fn last_key(&self) -> &str {
        &self.key
    }

    /// The session key of a request, whether it sticks or not (rule 1).
    ///
    /// # Errors
    ///
    /// [`KeyError`] when the target, the session id or a tag is malformed.
    pub fn session_key(&self, request: &Request<'_>) -> Result<String, KeyError> {
        let mut key = String::new();
        self.set_key(&mut key, request)?;
        Ok(key)
    }

    /// Writes the session key (rule 1) and answers with the policy if the key sticks (rule 2).
    fn set_key(&self, key: &mut String, request: &Request<'_>) -> Result<Option<Sticky>, KeyError> {
        key::push_host(key, request.target)?;
        let mut policy = self.policies.of(key);
        if let Some(ttl_ms) = request.ttl_ms {
            policy.ttl_ms = ttl_ms.min(MAX_TTL_MS);
        }
        match self.config.scope {
            Scope::Host => {}
            #[cfg(feature = "public-suffix-list")]
            Scope::Site => {
                let start = key.len() - key::site(key).len();
                key.drain(..start);
            }
            // Without the list, `configure` does not accept the scope.
            #[cfg(not(feature = "public-suffix-list"))]
            Scope::Site => {}
            Scope::Session if request.session.is_some() => key.clear(),
            Scope::Session => {}
        }
        if !request.tags.is_empty() {
            key::push_tags(key, request.tags)?;
        }
        if let Some(id) = request.session {
            key::push_session_id(key, id)?;
        }
        let keyed = self.config.scope != Scope::Session || request.session.is_some();
        Ok((policy.sticks() && keyed).then_some(policy))
    }

    /// The key sticks: the live session's proxy, or a new session.
    fn stay_or_bind(
        &mut self,
        now: u64,
        key: &str,
        policy: &Sticky,
        request: &Request<'_>,
    ) -> Result<Decided, AcquireError> {
        let (mut seen, mut guessed) = self.look(key)?;
        // Rule 3: whoever finds the key changed under its own bind has lost the race and adopts.
        let mut raced = false;
        for _ in 0..ATTEMPTS {
            let (previous, reason) =
                match self.standing(now, key, &seen, guessed.take(), policy, request)? {
                    Standing::Live(session, proxy) => {
                        match self.touch(now, key, &seen, &session, policy)? {
                            Some(current) => seen = current,
                            None => {
                                let reason = if raced { Reason::Adopted } else { Reason::Hit };
                                return Ok(self.follow(now, &session, proxy, reason));
                            }
                        }
                        continue;
                    }
                    Standing::Awaiting(session, proxy, breaker) => {
                        let probed =
                            self.probe_again(now, key, &seen, &session, policy, (proxy, breaker));
                        match probed? {
                            Ok(decided) => return Ok(decided),
                            Err(current) => seen = current,
                        }
                        continue;
                    }
                    Standing::Ended(session, end)
                        if policy.on_bad == OnBad::Strict && end.is_bad() =>
                    {
                        return Err(AcquireError::SessionLost {
                            end,
                            // Its idle time goes on; a release that ended it has set it to the expiry.
                            retry_after_ms: session.idle_at.saturating_sub(now),
                        });
                    }
                    Standing::Ended(session, end) => {
                        (Some((session.proxy, end)), Reason::Rebound(end))
                    }
                    Standing::Vacant => (None, Reason::Bound),
                };
            let choice = self.choose(now, key, previous, request)?;
            let proxy = self.pool.get(choice.proxy).id;
            let session = Session {
                // The key may have entries under other ports, too.
                is_doubted: choice.is_doubted || seen.session.is_some_and(|s| s.is_doubted),
                ..Session::new(proxy, choice.ticket, choice.token.era, now, policy)
            };
            let bound = table::with_room(&self.storage, now, || {
                table::replace(&self.storage, key, &seen, &session)
            });
            match self.or_give_back(now, choice.proxy, choice.token, bound)? {
                None => {
                    let max = self.config.max_sessions;
                    let made = table::make_room(&self.storage, Table::Sessions, key, now, max);
                    self.or_give_back(now, choice.proxy, choice.token, made)?;
                    self.hints.note(key, choice.proxy);
                    return Ok(self.grant(now, &choice, Some(&session), reason));
                }
                Some(current) => {
                    self.give_back(now, choice.proxy, choice.token)?;
                    seen = current;
                    raced = true;
                }
            }
        }
        Err(StorageError::Contended.into())
    }

    /// The key's session and, if the guess is good, its proxy's breaker.
    fn look(&self, key: &str) -> Result<(Seen, Option<Guessed>), StorageError> {
        let guess = self.hints.guess(key).filter(|i| *i < self.pool.len());
        let Some(proxy) = guess else {
            return Ok((table::load(&self.storage, key)?, None));
        };
        let breaker = (Table::Breakers, &*self.pool.get(proxy).key);
        let (session, breaker) = self.storage.load_pair((Table::Sessions, key), breaker)?;
        let breaker = gate::Seen::new(breaker)?;
        Ok((Seen::new(session)?, Some(Guessed { proxy, breaker })))
    }

    /// Rule 4: where the key stands now.
    fn standing(
        &mut self,
        now: u64,
        key: &str,
        seen: &Seen,
        guessed: Option<Guessed>,
        policy: &Sticky,
        request: &Request<'_>,
    ) -> Result<Standing, StorageError> {
        let Some(session) = seen.session else {
            return Ok(Standing::Vacant);
        };
        if let Some(end) = session.end(now, Some(policy)) {
            return Ok(Standing::Ended(session, end));
        }
        let in_pool = self.pool.find(&session.proxy);
        let Some(proxy) = in_pool.filter(|i| self.pool.serves(*i, &Wanted::Any)) else {
            return Ok(Standing::Ended(session, End::Removed));
        };
        let breaker = match guessed {
            Some(guessed) if guessed.proxy == proxy => guessed.breaker,
            _ => {
                self.hints.note(key, proxy);
                gate::look(&self.storage, &self.pool.get(proxy).key)?
            }
        };
        Ok(if breaker.breaker.keeps(session.era, now) {
            Standing::Live(session, proxy)
        } else if breaker.breaker.is_resumable(session.era)
            && self.may_probe(now, key, request, &breaker.breaker)?
        {
            Standing::Awaiting(session, proxy, breaker)
        } else {
            Standing::Ended(session, End::Open)
        })
    }

    /// A session whose probe was given up sends the next one and goes on. Answers with what is there instead if
    /// the session or the breaker has changed.
    fn probe_again(
        &self,
        now: u64,
        key: &str,
        seen: &Seen,
        session: &Session,
        policy: &Sticky,
        (proxy, breaker): (usize, gate::Seen),
    ) -> Result<Result<Decided, Seen>, StorageError> {
        let id = &self.pool.get(proxy).key;
        let policy_of_breakers = &self.config.breaker;
        let Some(token) = gate::take_probe(&self.storage, id, &breaker, now, policy_of_breakers)?
        else {
            return table::load(&self.storage, key).map(Err);
        };
        let choice = Choice {
            proxy,
            ticket: session.generation,
            token,
            is_doubted: session.is_doubted,
        };
        let probing = Session {
            era: token.era,
            ..session.used(now, policy)
        };
        let bound = table::replace(&self.storage, key, seen, &probing);
        match self.or_give_back(now, proxy, token, bound)? {
            None => Ok(Ok(self.grant(now, &choice, Some(session), Reason::Hit))),
            Some(current) => {
                self.give_back(now, proxy, token)?;
                Ok(Err(current))
            }
        }
    }

    /// Records one more request on a live session where the policy limits its idle time or its
    /// requests. Answers with what is there instead if the session has changed.
    fn touch(
        &self,
        now: u64,
        key: &str,
        seen: &Seen,
        session: &Session,
        policy: &Sticky,
    ) -> Result<Option<Seen>, StorageError> {
        let used = session.used(now, policy);
        if used == *session {
            return Ok(None);
        }
        table::replace(&self.storage, key, seen, &used)
    }

    /// The key does not stick: the next proxy.
    fn rotate(&self, now: u64, key: &str, request: &Request<'_>) -> Result<Decided, AcquireError> {
        let choice = self.choose(now, key, None, request)?;
        Ok(self.grant(now, &choice, None, Reason::Rotated))
    }

    /// Counts a granted request as in flight, for the strategy that asks.
    fn counted(&self, now: u64, granted: Decided) -> Result<Decided, AcquireError> {
        if self.config.strategy == StrategyKind::LeastUsed
            && let Some(i) = self.pool.find(&granted.permit.proxy)
        {
            let window = self.config.lease_timeout_ms;
            let begun = table::with_room(&self.storage, now, || {
                in_flight::begin(&self.storage, &self.pool.get(i).key, now, window)
            });
            self.or_give_back(now, i, granted.permit.token(), begun)?;
        }
        Ok(granted)
    }

    /// A permit for a session's proxy. Never a probe: that is who bound it, at most.
    fn follow(&self, now: u64, session: &Session, proxy: usize, reason: Reason) -> Decided {
        let choice = Choice {
            proxy,
            ticket: session.generation,
            token: AdmissionToken {
                era: session.era,
                probe: false,
            },
            is_doubted: session.is_doubted,
        };
        self.grant(now, &choice, Some(session), reason)
    }

    fn grant(
        &self,
        now: u64,
        choice: &Choice,
        session: Option<&Session>,
        reason: Reason,
    ) -> Decided {
        let patience = if choice.token.probe {
            self.config.breaker.half_open_after_ms
        } else {
            self.config.lease_timeout_ms
        };
        Decided {
            permit: Permit {
                proxy: self.pool.get(choice.proxy).id,
                generation: session.map_or(0, |session| session.generation),
                era: choice.token.era,
                probe: choice.token.probe,
                acquired_at: now,
                deadline: now.saturating_add(patience),
                is_doubted: choice.is_doubted,
            },
            reason,
            session: session.map(|session| Span {
                bound_at: session.bound_at,
                expires_at: session.expires_at,
            }),
        }
    }
}

impl Decided {
    fn under(self, key: String) -> Grant {
        Grant {
            lease: Lease {
                key,
                permit: self.permit,
            },
            reason: self.reason,
            session: self.session,
        }
    }
}
