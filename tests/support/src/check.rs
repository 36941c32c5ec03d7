//! Whether a history of the fleet keeps the rules. Knows nothing but what the members asked and were told.
//!
//! What nobody knows (a request whose answer was lost, a member that was killed) may have happened or not: it
//! excuses what it could have caused, and nothing else.

use std::cmp::Ordering;
use std::collections::HashMap;

use crate::history::{Change, Grant, Heard, Request};

/// By how much two clocks of the fleet may differ, in microseconds: what a look at the server's clock may be off.
const SKEW: u64 = 150_000;

/// What the members were set to, in microseconds.
#[derive(Clone, Copy)]
pub struct Settings {
    pub ttl: u64,
    pub half_open_after: u64,
}

/// What was checked; for people to read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Checked {
    pub requests: usize,
    pub granted: usize,
    pub unknown: usize,
    /// Requests that had to get the session that an earlier one had.
    pub stays: usize,
    pub generations: usize,
    pub ends: usize,
    pub probes: usize,
    pub openings: usize,
}

/// A rule that does not hold, with the case.
#[derive(Clone, Debug)]
pub struct Broken {
    pub rule: u8,
    /// When the request was made that shows it, in microseconds since the Unix epoch.
    pub at: u64,
    pub case: String,
}

struct History<'a> {
    settings: Settings,
    granted: Vec<(&'a Request, &'a Grant)>,
    /// By proxy: moments at which its breaker may have begun a new era.
    eras: HashMap<u64, Vec<(u64, u64)>>,
    /// Requests that may have become anything.
    unknown: Vec<u64>,
    broken: Vec<Broken>,
    checked: Checked,
}

/// By generation of one key: when it was asked for first, and when it was first told.
struct Seen(HashMap<u64, (u64, u64)>);

impl Seen {
    fn of(sorted_by_asked: &[(&Request, &Grant)]) -> Self {
        let mut seen = HashMap::new();
        for (request, grant) in sorted_by_asked {
            let first = seen.entry(grant.generation);
            let (_, told) = first.or_insert((request.asked, grant.at));
            *told = grant.at.min(*told);
        }
        Self(seen)
    }

    /// Which of two sessions is older: the one that was told before anybody asked for the other. When they end says
    /// nothing of it: clocks differ, and what a server that hung has not answered it may do seconds later.
    fn order(&self, a: &Grant, b: &Grant) -> Ordering {
        let (asked_a, told_a) = self.0[&a.generation];
        let (asked_b, told_b) = self.0[&b.generation];
        (told_b < asked_a).cmp(&(told_a < asked_b))
    }
}

/// Checks rules 3, 4, 5 and 7.
pub fn check(settings: Settings, requests: &[Request]) -> (Checked, Vec<Broken>) {
    let granted: Vec<_> = requests
        .iter()
        .filter_map(|request| Some((request, request.grant.as_ref()?)))
        .collect();
    let unknown: Vec<u64> = requests
        .iter()
        .filter(|request| request.grant.is_none() && !request.refused)
        .map(|request| request.asked)
        .collect();
    let mut history = History {
        settings,
        eras: eras(&granted),
        checked: Checked {
            requests: requests.len(),
            granted: granted.len(),
            unknown: unknown.len(),
            ..Checked::default()
        },
        granted,
        unknown,
        broken: Vec::new(),
    };
    history.one_proxy_a_generation();
    history.sessions_stay();
    history.ended_once();
    history.one_probe();
    history.open_admits_nobody();
    (history.checked, history.broken)
}

/// When the breaker of each proxy may have changed in a way that ends sessions: from when to when.
fn eras(granted: &[(&Request, &Grant)]) -> HashMap<u64, Vec<(u64, u64)>> {
    let mut eras: HashMap<u64, Vec<(u64, u64)>> = HashMap::new();
    let mut note = |proxy, from, to| eras.entry(proxy).or_default().push((from, to));
    for (request, grant) in granted {
        if grant.probe {
            note(grant.proxy, request.asked, grant.at);
        }
        let Some(release) = &request.release else {
            // A probe that nobody takes back loses its place.
            if grant.probe {
                note(grant.proxy, grant.at, u64::MAX);
            }
            continue;
        };
        match &release.heard {
            Some(heard) => {
                let own = (grant.proxy, heard.change);
                let changes = [own].into_iter().chain(heard.others.iter().copied());
                for (proxy, _) in changes.filter(|(_, change)| *change != Change::None) {
                    note(proxy, release.said, heard.at);
                }
            }
            None => {
                let own = (grant.proxy, release.bad);
                let fallbacks = request.fallbacks.iter().map(|f| (f.proxy, f.bad));
                for (proxy, _) in [own].into_iter().chain(fallbacks).filter(|(_, bad)| *bad) {
                    note(proxy, release.said, u64::MAX);
                }
            }
        }
    }
    eras
}

impl<'a> History<'a> {
    fn breaks(&mut self, rule: u8, at: u64, case: String) {
        self.broken.push(Broken { rule, at, case });
    }

    /// When it was bound.
    fn bound_at(&self, grant: &Grant) -> u64 {
        (grant.expires_at * 1_000).saturating_sub(self.settings.ttl)
    }

    fn by_key(&self) -> HashMap<&'a str, Vec<(&'a Request, &'a Grant)>> {
        let mut by_key: HashMap<&str, Vec<_>> = HashMap::new();
        for (request, grant) in &self.granted {
            by_key
                .entry(&request.key)
                .or_default()
                .push((*request, *grant));
        }
        by_key
    }

    /// Rule 3: whoever gets a generation of a key gets its one proxy.
    fn one_proxy_a_generation(&mut self) {
        let mut proxies: HashMap<(&str, u64), u64> = HashMap::new();
        let mut cases = Vec::new();
        for (request, grant) in &self.granted {
            let first = *proxies
                .entry((&request.key, grant.generation))
                .or_insert(grant.proxy);
            if first != grant.proxy {
                let key = &request.key;
                cases.push((
                    request.asked,
                    format!("{key}: one generation on two proxies"),
                ));
            }
        }
        self.checked.generations = proxies.len();
        for (at, case) in cases {
            self.breaks(3, at, case);
        }
    }

    /// Rules 3 and 4: who asks after somebody was told a session gets it, unless something has ended it; and rule 5:
    /// what ends it is its own failure. No session comes back.
    fn sessions_stay(&mut self) {
        for (key, mut all) in self.by_key() {
            all.sort_by_key(|(request, _)| request.asked);
            let mut told = all.clone();
            told.sort_by_key(|(_, grant)| grant.at);
            // When each generation may have ended, by what was said of it.
            let mut ended: HashMap<u64, u64> = HashMap::new();
            for (request, grant) in &all {
                if let Some(release) = request.release.as_ref().filter(|release| release.bad) {
                    let none = release.heard.as_ref().is_some_and(|heard| !heard.ended);
                    let end = ended.entry(grant.generation).or_insert(u64::MAX);
                    // One that ended nothing found it ended: somebody else's excuse.
                    *end = if none { *end } else { release.said.min(*end) };
                }
            }
            let seen = Seen::of(&all);
            let (mut next, mut latest) = (0, None::<(&Request, &Grant)>);
            for (request, grant) in &all {
                while let Some((_, t)) = told.get(next).filter(|(_, t)| t.at < request.asked) {
                    let newer = latest.is_none_or(|(_, l)| {
                        seen.order(t, l).then(t.expires_at.cmp(&l.expires_at)) != Ordering::Less
                    });
                    if newer {
                        latest = Some(told[next]);
                    }
                    next += 1;
                }
                let now = grant.at;
                if request.asked > grant.expires_at * 1_000 + SKEW {
                    let case = format!("{key}: a session that has expired is back from the dead");
                    self.breaks(4, request.asked, case);
                }
                let Some((_, known)) = latest else { continue };
                if known.generation == grant.generation {
                    self.checked.stays += 1;
                    continue;
                }
                if seen.order(grant, known) == Ordering::Less {
                    let case = format!(
                        "{key}: an older session than one that was told before: {grant:?}, {known:?}"
                    );
                    self.breaks(4, request.asked, case);
                    continue;
                }
                let expired = known.expires_at * 1_000 <= now + SKEW;
                let said = ended.get(&known.generation).is_some_and(|end| *end <= now);
                if !(expired || said || self.may_have_opened(known, now)) {
                    let (was, is) = (known.proxy, grant.proxy);
                    let case =
                        format!("{key}: moved from proxy {was} to {is}, and nothing ended it");
                    self.breaks(4, request.asked, case);
                }
            }
        }
    }

    /// Whether the breaker of a session's proxy may have ended it before `now`.
    fn may_have_opened(&self, session: &Grant, now: u64) -> bool {
        let since = self.bound_at(session).saturating_sub(SKEW);
        let Some(eras) = self.eras.get(&session.proxy) else {
            return false;
        };
        let changed = eras.iter().any(|(from, to)| *from <= now && *to >= since);
        // A probe of which nobody knows, where there may be one.
        let probed = || {
            self.unknown
                .iter()
                .any(|asked| (since..=now).contains(asked))
        };
        changed || (eras.iter().any(|(from, _)| *from <= now) && probed())
    }

    /// Rule 5: a generation is ended once at most, and nobody gets it after that.
    fn ended_once(&mut self) {
        let mut ends: HashMap<(&str, u64), Vec<&Heard>> = HashMap::new();
        for (request, grant) in &self.granted {
            let release = request.release.as_ref();
            let heard = release.and_then(|release| release.heard.as_ref());
            if let Some(heard) = heard.filter(|heard| heard.ended) {
                let all = ends.entry((&request.key, grant.generation)).or_default();
                all.push(heard);
            }
        }
        self.checked.ends = ends.len();
        let mut cases = Vec::new();
        for ((key, _), heard) in &ends {
            if heard.len() > 1 {
                cases.push((heard[0].at, format!("{key}: one session ended twice")));
            }
        }
        for (request, grant) in &self.granted {
            let end = ends.get(&(request.key.as_str(), grant.generation));
            if end.is_some_and(|heard| heard[0].at < request.asked) {
                let case = format!("{}: granted after its end was told", request.key);
                cases.push((request.asked, case));
            }
        }
        for (at, case) in cases {
            self.breaks(5, at, case);
        }
    }

    /// Rule 7: one probe at a time, until it is taken back or has lost its place.
    fn one_probe(&mut self) {
        let mut probes: Vec<(&Request, &Grant)> = self.granted.clone();
        probes.retain(|(_, grant)| grant.probe);
        probes.sort_by_key(|(_, grant)| grant.at);
        self.checked.probes = probes.len();
        for (i, (early, first)) in probes.iter().enumerate() {
            let lost = early.asked + self.settings.half_open_after;
            let back = early
                .release
                .as_ref()
                .map_or(u64::MAX, |release| release.said);
            let rivals = probes[i + 1..]
                .iter()
                .filter(|(_, late)| late.proxy == first.proxy);
            for (request, late) in rivals {
                if late.at + SKEW < lost && late.at < back {
                    let case = format!("proxy {}: two probes at a time", first.proxy);
                    self.breaks(7, request.asked, case);
                }
            }
        }
    }

    /// Rule 7: after a breaker was told to have opened, nobody new gets its proxy but a probe, until it may have closed.
    fn open_admits_nobody(&mut self) {
        let mut openings: Vec<(u64, u64)> = Vec::new();
        let mut closings: Vec<(u64, u64)> = Vec::new();
        for (request, grant) in &self.granted {
            let Some(release) = &request.release else {
                continue;
            };
            let Some(heard) = &release.heard else {
                if grant.probe && !release.bad {
                    closings.push((grant.proxy, release.said));
                }
                continue;
            };
            let own = (grant.proxy, heard.change);
            for (proxy, change) in [own].into_iter().chain(heard.others.iter().copied()) {
                match change {
                    Change::Opened => openings.push((proxy, heard.at)),
                    Change::Closed => closings.push((proxy, release.said)),
                    Change::None | Change::Returned => {}
                }
            }
        }
        openings.sort_by_key(|(_, at)| *at);
        self.checked.openings = openings.len();
        let mut cases = Vec::new();
        for (request, grant) in &self.granted {
            if grant.hit || grant.probe {
                continue;
            }
            let mut of_proxy = openings.iter().filter(|(proxy, _)| *proxy == grant.proxy);
            let Some((_, opened)) = of_proxy.rfind(|(_, at)| *at < request.asked) else {
                continue;
            };
            // A close may take effect long before it is told: from the moment it was said.
            let closed = closings.iter().any(|(proxy, said)| {
                *proxy == grant.proxy && *said <= grant.at && said + SKEW > *opened
            });
            // A session that a probe has bound is followed by its other requests.
            let follows = self.granted.iter().any(|(_, probe)| {
                probe.probe && probe.generation == grant.generation && probe.proxy == grant.proxy
            });
            if !closed && !follows {
                cases.push((
                    request.asked,
                    format!("proxy {}: open, and admitted", grant.proxy),
                ));
            }
        }
        for (at, case) in cases {
            self.breaks(7, at, case);
        }
    }
}

#[cfg(test)]
mod tests;
