//! The session table, plainly: rules 2, 4, 5 and 10.

use std::collections::BTreeMap;

use remora_core::{End, Lease, ProxyId, Sticky};

#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) proxy: ProxyId,
    pub(crate) generation: u64,
    pub(crate) bound_at: u64,
    pub(crate) expires_at: u64,
    /// When it ends for lack of requests, if its policy says so.
    idle_at: Option<u64>,
    uses: u32,
    /// What a release did to it.
    released: Option<End>,
    /// Whether its proxy's breaker has opened or sent out another probe since the bind.
    pub(crate) opened: bool,
    /// Whether its probe was given up and no other one has gone out since.
    pub(crate) awaits_probe: bool,
    /// Whether its answers look at the table of doubts.
    pub(crate) doubted: bool,
}

impl Session {
    pub(crate) fn end_by_time_or_release(&self, now: u64) -> Option<End> {
        let idle = self
            .idle_at
            .is_some_and(|at| at <= now)
            .then_some(End::Idle);
        let expired = (self.expires_at <= now).then_some(End::Expired);
        expired.or(self.released).or(idle)
    }

    /// What moves in a connection is use that the session does not see.
    pub(crate) fn lasts_for_connections(&self, now: u64) -> bool {
        self.released.is_none() && now < self.expires_at
    }

    pub(crate) fn spent(&self, policy: &Sticky) -> bool {
        policy.max_requests.is_some_and(|max| max <= self.uses)
    }

    /// When its place in the table is free, unless it is used before.
    pub(crate) fn due(&self) -> u64 {
        match (self.released, self.idle_at) {
            (None, Some(idle_at)) => idle_at.min(self.expires_at),
            _ => self.expires_at,
        }
    }

    fn count(&mut self, now: u64, policy: &Sticky) {
        if policy.max_requests.is_some() {
            self.uses += 1;
        }
        if let Some(idle) = policy.idle_ms {
            self.idle_at = Some(now + idle);
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Sessions(pub(crate) BTreeMap<String, Session>);

impl Sessions {
    pub(crate) fn get(&self, key: &str) -> Option<&Session> {
        self.0.get(key)
    }

    pub(crate) fn bind(
        &mut self,
        key: &str,
        proxy: ProxyId,
        generation: u64,
        now: u64,
        policy: &Sticky,
        doubted: bool,
    ) {
        let before = self.0.get(key).is_some_and(|s| s.doubted);
        let mut session = Session {
            proxy,
            generation,
            bound_at: now,
            expires_at: now + policy.ttl_ms,
            idle_at: None,
            uses: 0,
            released: None,
            opened: false,
            awaits_probe: false,
            doubted: doubted || before,
        };
        session.count(now, policy);
        self.0.insert(key.to_owned(), session);
    }

    pub(crate) fn make_room(&mut self, written: &str, now: u64, max: u64) {
        make_room(&mut self.0, Session::due, written, now, max);
    }

    pub(crate) fn used(&mut self, key: &str, now: u64, policy: &Sticky) {
        self.0.get_mut(key).unwrap().count(now, policy);
    }

    pub(crate) fn breaker_changed(&mut self, proxy: ProxyId) {
        for session in self.0.values_mut() {
            session.opened |= session.proxy == proxy;
            session.awaits_probe &= session.proxy != proxy;
        }
    }

    /// The probe came back without a verdict: the session that it bound may send the next one.
    pub(crate) fn probe_returned(&mut self, proxy: ProxyId) {
        for session in self.0.values_mut().filter(|s| s.proxy == proxy) {
            session.awaits_probe = !session.opened;
            session.opened = true;
        }
    }

    /// It did.
    pub(crate) fn probes_again(&mut self, key: &str) {
        self.0.get_mut(key).unwrap().opened = false;
    }

    /// Rule 5.
    pub(crate) fn end(&mut self, lease: &Lease, now: u64, end: End) -> bool {
        let session = self.0.get_mut(&lease.key);
        let same = session.filter(|s| s.generation == lease.generation);
        let live = same.filter(|s| s.end_by_time_or_release(now).is_none());
        live.map(|s| s.released = Some(end)).is_some()
    }

    /// Rule 13: from now on the answers of the key's session look at the table of doubts.
    pub(crate) fn doubt(&mut self, key: &str) {
        if let Some(session) = self.0.get_mut(key) {
            session.doubted = true;
        }
    }

    /// Rule 13: puts a session that has just ended on another exit, for as long again.
    pub(crate) fn move_to(&mut self, key: &str, proxy: ProxyId, generation: u64, now: u64) {
        let session = self.0.get_mut(key).unwrap();
        *session = Session {
            proxy,
            generation,
            bound_at: now,
            expires_at: now + (session.expires_at - session.bound_at),
            idle_at: None,
            uses: session.uses.min(1),
            released: None,
            opened: false,
            awaits_probe: false,
            doubted: session.doubted,
        };
    }

    pub(crate) fn unbind(&mut self, key: &str, now: u64) -> bool {
        let session = self.0.remove(key);
        session.is_some_and(|s| s.end_by_time_or_release(now).is_none())
    }

    pub(crate) fn purge(&mut self, now: u64, limit: u32) -> u32 {
        let mut due: Vec<_> = self
            .0
            .iter()
            .map(|(key, s)| (s.due(), key.clone()))
            .collect();
        due.sort();
        due.retain(|(at, _)| *at <= now);
        due.truncate(limit as usize);
        for (_, key) in &due {
            self.0.remove(key);
        }
        due.len() as u32
    }
}

/// Rule 10: after a write the entries closest to expiry go, up to four of them, as long as they are due
/// or the table is too full.
pub(crate) fn make_room<T>(
    table: &mut BTreeMap<String, T>,
    due: impl Fn(&T) -> u64,
    written: &str,
    now: u64,
    max: u64,
) {
    for _ in 0..4 {
        let others = table.iter().filter(|(key, _)| *key != written);
        let first = others.map(|(key, entry)| (due(entry), key.clone())).min();
        match first {
            Some((at, key)) if at <= now || table.len() as u64 > max => table.remove(&key),
            _ => return,
        };
    }
}
