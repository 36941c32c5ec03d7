//! Adds, changes and removes tenants while others are served.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::Tenants;
use super::directory::{Directory, Top};
use super::maker::{Maker, Prepared, forget_proxies};
use super::tenant::Tenant;
use crate::auth::ParamRules;
use crate::config::{BuildError, TenantConfig, Timeouts};
use crate::password::{Secret, remember};

/// The pause before a tenant is made once more.
const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// What a tenant is to be.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) name: String,
    /// Its fields, or why there are none.
    pub(crate) fields: Result<Arc<TenantConfig>, String>,
}

/// What only one changes at a time.
#[derive(Debug)]
pub(super) struct Changing {
    /// The same for all.
    pub(super) timeouts: Timeouts,
    /// What the tenants are to be that are being made on the side.
    pub(super) making: HashMap<String, Arc<TenantConfig>>,
    /// Whom a task makes on the side: nobody else touches them, but to remove them.
    pub(super) busy: HashSet<String>,
}

/// A tenant that is to be made on the side.
struct Task {
    fields: Arc<TenantConfig>,
    timeouts: Timeouts,
    /// The one that it follows.
    old: Option<Arc<Tenant>>,
}

impl Task {
    /// Whether the one that it follows is still this.
    fn follows(&self, now: Option<&Arc<Tenant>>) -> bool {
        match (&self.old, now) {
            (Some(old), Some(now)) => Arc::ptr_eq(old, now),
            (None, None) => true,
            _ => false,
        }
    }
}

/// The users that a tenant has and is not to have any more.
fn given_away<'a>(old: &'a Tenant, fields: &'a TenantConfig) -> impl Iterator<Item = &'a String> {
    let had = old.made.iter().flat_map(|made| made.secrets.keys());
    had.filter(|had| !fields.secrets.contains_key(*had))
}

/// Whose each user of a tenant is: who has it keeps it, until it was changed so that it is another one's.
fn claims(
    before: &Directory,
    wanted: &[Wanted],
    heirs: &HashMap<String, String>,
) -> HashMap<String, String> {
    let mut claims = heirs.clone();
    for Wanted { name, .. } in wanted {
        let old = before.tenants.get(name);
        let made = old.and_then(|old| old.made.as_ref());
        for user in made.iter().flat_map(|made| made.secrets.keys()) {
            if before.owner(user) == Some(name) {
                claims.insert(user.clone(), name.clone());
            }
        }
    }
    claims
}

/// Whose each user of a tenant is to be, where several files name it: who has it keeps it, then it is the tenant's
/// that is called like it, then the first one's. A file that is no good keeps what its tenant has, and the tenant's
/// name.
fn heirs(before: &Directory, wanted: &[Wanted]) -> HashMap<String, String> {
    let mut heirs: HashMap<String, (u8, &str)> = HashMap::new();
    for Wanted { name, fields } in wanted {
        let old = before.tenants.get(name);
        let users: Vec<&str> = match (fields, old.and_then(|old| old.made.as_ref())) {
            (Ok(fields), _) => fields.users().map(|user| &**user).collect(),
            (Err(_), Some(made)) => made.secrets.keys().map(|user| &**user).collect(),
            (Err(_), None) => vec![name],
        };
        for user in users {
            let rank = match before.owner(user) {
                Some(owner) if owner == name => 0,
                _ if user == name => 1,
                _ => 2,
            };
            let heir = heirs.entry(user.to_owned()).or_insert((rank, name));
            if rank < heir.0 {
                *heir = (rank, name);
            }
        }
    }
    let heirs = heirs.into_iter();
    heirs
        .map(|(user, (_, name))| (user, name.to_owned()))
        .collect()
}

impl Tenants {
    /// Makes the tenants these. Who is as before is not touched, and who cannot be made as its file says stays as it
    /// was. Those with a plugin of their own are made on the side, each for itself, and are there when they are
    /// ready: nobody waits for somebody else's plugin.
    pub(crate) async fn become_these(self: &Arc<Self>, wanted: Vec<Wanted>) {
        let Some(maker) = &self.maker else {
            return;
        };
        let mut changing = self.changing.lock().await;
        let before = self.directory();
        let heirs = heirs(&before, &wanted);
        let mut next = Directory {
            claims: Arc::new(claims(&before, &wanted, &heirs)),
            ..Directory::among_tenants(before.top.clone())
        };
        let (mut quick, mut slow, mut absent) = (Vec::new(), HashMap::new(), Vec::new());
        for Wanted { name, fields } in wanted {
            let old = before.tenants.get(&name);
            let is_busy = changing.busy.contains(&name);
            match fields {
                Err(trouble) => next.refuse(&name, trouble, old),
                Ok(fields) if !is_busy && old.is_some_and(|old| old.is(&fields)) => {
                    next.stay(&name, old);
                }
                // Also one whose plugin is to go: it could still keep everybody waiting.
                Ok(fields)
                    if is_busy
                        || fields.plugin().is_some()
                        || old.is_some_and(|old| old.plugin().is_some()) =>
                {
                    next.stay(&name, old);
                    if let Some(trouble) = before.troubles.get(&name) {
                        next.troubles.insert(name.clone(), trouble.clone());
                    }
                    // An error among its users is reported when it is made.
                    if old.is_none() && !fields.secrets.is_empty() {
                        let secrets = fields.secrets.clone();
                        next.announce(&name, secrets.clone(), &before);
                        absent.push((name.clone(), secrets));
                    }
                    slow.insert(name, fields);
                }
                Ok(fields) => quick.push((name, fields)),
            }
        }
        // First those that are there: a new one must not take their place. Of those, first who gives a user away.
        quick.sort_by_key(|(name, fields)| match before.tenants.get(name) {
            Some(old) => u8::from(given_away(old, fields).next().is_none()),
            None => 2,
        });
        let mut followed = Vec::new();
        for (name, fields) in quick {
            let old = before.tenants.get(&name);
            match next.check(&name, &fields, maker.max_tenants) {
                Err(trouble) => next.refuse(&name, trouble, old),
                Ok(()) => {
                    let (timeouts, wanted) = (changing.timeouts, fields.clone());
                    let prepared = maker.prepare(&name, fields, timeouts, old.map(|old| &**old));
                    let made = match prepared.await {
                        Ok(prepared) => prepared.apply().await,
                        Err(error) => Err(error),
                    };
                    if let (Some(new), Some(old)) = (next.take(&name, made, old), old) {
                        for user in given_away(old, &wanted) {
                            next.hand_over(&name, user, heirs.get(user));
                        }
                        followed.push((old.clone(), new));
                    }
                }
            }
            tokio::task::yield_now().await;
        }
        // Once more: a user may have been given away to them.
        for (name, secrets) in absent {
            next.announce(&name, secrets, &before);
        }
        self.replace(&before, next, maker);
        for (old, new) in followed {
            forget_proxies(&old, &new).await;
        }
        // One at a time is at work for each: it sees by itself that something else is wanted now.
        changing.making = slow;
        let Changing { making, busy, .. } = &mut *changing;
        for name in making.keys() {
            if busy.insert(name.clone()) {
                let (this, name) = (self.clone(), name.clone());
                self.at_work
                    .spawn(async move { this.make_aside(&name).await });
            }
        }
    }

    /// Waits until nothing is being made on the side.
    pub(crate) async fn made(&self) {
        self.at_work.close();
        self.at_work.wait().await;
        self.at_work.reopen();
    }

    /// Makes the tenant that is wanted, until it is the one.
    async fn make_aside(&self, name: &str) {
        let Some(maker) = &self.maker else {
            return;
        };
        while let Some(task) = self.task(name, maker).await {
            let before = task.old.as_deref();
            let prepared = maker.prepare(name, task.fields.clone(), task.timeouts, before);
            let prepared = prepared.await;
            if prepared
                .as_ref()
                .is_ok_and(|prepared| !prepared.is_made_of(&task.fields))
            {
                // Its plugin's file is another one meanwhile.
                sleep(AGAIN_AFTER).await;
                continue;
            }
            let new = self.finish(name, &task, prepared, maker).await;
            if let (Some(old), Some(new)) = (&task.old, new) {
                forget_proxies(old, &new).await;
            }
        }
    }

    /// What is to be made on the side; `None`: nothing any more.
    async fn task(&self, name: &str, maker: &Maker) -> Option<Task> {
        let mut changing = self.changing.lock().await;
        let before = self.directory();
        let old = before.tenants.get(name);
        if let Some(fields) = changing.making.get(name).cloned() {
            let is_there = old.is_some_and(|old| old.is(&fields));
            let trouble = match is_there {
                true => None,
                false => match before.check(name, &fields, maker.max_tenants) {
                    Ok(()) => {
                        return Some(Task {
                            fields,
                            timeouts: changing.timeouts,
                            old: old.cloned(),
                        });
                    }
                    Err(trouble) => Some(trouble),
                },
            };
            changing.making.remove(name);
            let mut next = (*before).clone();
            next.troubles.remove(name);
            next.troubles
                .extend(trouble.map(|trouble| (name.to_owned(), trouble)));
            self.replace(&before, next, maker);
        }
        changing.busy.remove(name);
        None
    }

    /// Takes in what was made on the side, if it is still what is wanted. Answers with the tenant that is served
    /// from now on.
    async fn finish(
        &self,
        name: &str,
        task: &Task,
        prepared: Result<Prepared, BuildError>,
        maker: &Maker,
    ) -> Option<Arc<Tenant>> {
        let mut changing = self.changing.lock().await;
        let before = self.directory();
        let is_wanted = |changing: &Changing| {
            let wanted = changing.making.get(name);
            wanted.is_some_and(|wanted| **wanted == *task.fields)
        };
        if !is_wanted(&changing) || !task.follows(before.tenants.get(name)) {
            return None;
        }
        // Somebody else may have taken its place or its user meanwhile: then it is refused before long.
        before.check(name, &task.fields, maker.max_tenants).ok()?;
        let made = match prepared {
            Err(error) => Err(error),
            Ok(prepared) if prepared.is_in_place() => {
                // Calls of a plugin: nobody else waits for them.
                drop(changing);
                let made = prepared.apply().await;
                changing = self.changing.lock().await;
                made
            }
            Ok(prepared) => prepared.apply().await,
        };
        let before = self.directory();
        if !task.follows(before.tenants.get(name)) {
            return None;
        }
        let mut next = (*before).clone();
        if is_wanted(&changing) {
            changing.making.remove(name);
            next.troubles.remove(name);
        }
        if let Ok(tenant) = &made {
            // They may be others since it was begun.
            tenant.gateway().set_timeouts(changing.timeouts);
        }
        // What a plugin says against its configuration is its tenant's trouble, like a plugin that is none.
        let is_plugins = task.fields.plugin().is_some() && matches!(made, Err(BuildError::Host(_)));
        // Whatever is wanted now: this is what the pool is, and the next change has to know.
        let new = next.take(name, made, before.tenants.get(name));
        if is_plugins {
            next.broken.insert(name.to_owned());
        }
        self.replace(&before, next, maker);
        new
    }

    fn replace(&self, before: &Directory, mut next: Directory, maker: &Maker) {
        let names = next.tenants.keys();
        let lacking = names.filter(|name| next.lacks(name).is_some());
        for name in lacking.cloned().collect::<Vec<_>>() {
            // It may have become free meanwhile.
            next.stay(&name, next.tenants.get(&name).cloned().as_ref());
            if let Some(trouble) = next.lacks(&name) {
                next.troubles.entry(name).or_insert(trouble);
            }
        }
        for (name, old) in &before.tenants {
            if !next.tenants.contains_key(name) {
                let in_flight = old.in_flight();
                tracing::info!(
                    tenant = name,
                    in_flight,
                    "a tenant is gone; what is in flight may finish"
                );
            }
        }
        for (name, trouble) in &next.troubles {
            // What was said before and is still so is not news.
            if before.troubles.get(name) != Some(trouble) {
                tracing::error!(
                    tenant = name,
                    error = trouble,
                    "a change of a tenant is refused"
                );
            }
        }
        maker.keep_plugins_of(next.tenants.values());
        self.publish(next);
    }

    /// Changes what is the same for all, and the users of the pool at the top.
    pub(crate) async fn set_top(
        &self,
        mut secrets: HashMap<String, Secret>,
        params: ParamRules,
        timeouts: Timeouts,
    ) {
        let mut changing = self.changing.lock().await;
        changing.timeouts = timeouts;
        let before = self.directory();
        for tenant in before.all() {
            tenant.gateway().set_timeouts(timeouts);
        }
        remember(&mut secrets, &before.top.secrets);
        let top = Top {
            pool: before.top.pool.clone(),
            secrets,
            params,
        };
        let mut directory = if self.are_many() {
            Directory::among_tenants(top)
        } else {
            Directory::alone(top)
        };
        directory.claims = before.claims.clone();
        for (name, tenant) in &before.tenants {
            directory.add(name, tenant);
        }
        for (name, secrets) in &before.absent {
            directory.announce(name, secrets.clone(), &before);
        }
        // Who lacked a user that the top had may have it now.
        let stays =
            |(name, trouble): &(&String, &String)| before.lacks(name).as_ref() != Some(trouble);
        let troubles = before.troubles.iter().filter(stays);
        directory.troubles = troubles
            .map(|(name, trouble)| (name.clone(), trouble.clone()))
            .collect();
        match &self.maker {
            Some(maker) => self.replace(&before, directory, maker),
            None => self.publish(directory),
        }
    }
}

impl Directory {
    fn stay(&mut self, name: &str, old: Option<&Arc<Tenant>>) {
        if let Some(old) = old {
            self.add(name, old);
        }
    }

    /// Notes why a change is refused; the tenant, if there was one, stays as it was.
    fn refuse(&mut self, name: &str, trouble: String, old: Option<&Arc<Tenant>>) {
        self.troubles.insert(name.to_owned(), trouble);
        self.stay(name, old);
    }

    /// Whether there can be such a tenant beside the others.
    fn check(&self, name: &str, fields: &TenantConfig, most: usize) -> Result<(), String> {
        if !self.tenants.contains_key(name) && self.tenants.len() >= most {
            return Err(format!(
                "there is no room for another tenant: `limits.max_tenants` is {most}"
            ));
        }
        self.check_users(name, fields)
    }

    /// Takes in what has become of a tenant. Answers with it, if it is good.
    fn take(
        &mut self,
        name: &str,
        made: Result<Tenant, BuildError>,
        old: Option<&Arc<Tenant>>,
    ) -> Option<Arc<Tenant>> {
        match made {
            Ok(mut tenant) => {
                if let (Some(made), Some(known)) = (&mut tenant.made, self.absent.get(name)) {
                    remember(&mut made.secrets, known);
                }
                let proxies = tenant.made.as_ref().map(|made| made.fields.proxy_entries());
                let tenant = Arc::new(tenant);
                self.add(name, &tenant);
                self.broken.remove(name);
                let change = if old.is_some() { "changed" } else { "added" };
                tracing::info!(tenant = name, proxies, change, "a tenant is there");
                Some(tenant)
            }
            Err(error) => {
                if error.is_of_a_plugin() {
                    self.broken.insert(name.to_owned());
                }
                self.refuse(name, error.to_string(), old);
                None
            }
        }
    }
}
