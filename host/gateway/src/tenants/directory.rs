//! The tenants and the users of this moment.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::tenant::Tenant;
use crate::auth::{ParamRules, Users};
use crate::config::TenantConfig;
use crate::gateway::Gateway;
use crate::password::{Secret, remember};
use crate::router::Route;

/// The pool of a route; `None` while the tenant is pending.
fn ready(route: &Route) -> Option<&Gateway> {
    match route {
        Route::Ready(pool) => Some(&pool.gateway),
        Route::Pending(_) => None,
    }
}

/// Whether a route leads to the tenant of this name.
fn leads_to(route: &Route, name: &str) -> bool {
    match route {
        Route::Ready(pool) => pool.gateway.tenant().is_some_and(|is| **is == *name),
        Route::Pending(is) => **is == *name,
    }
}

/// The part that belongs to no tenant.
#[derive(Clone, Debug)]
pub(crate) struct Top {
    /// The default pool, if there is one.
    pub(crate) pool: Option<Arc<Tenant>>,
    /// Its users.
    pub(crate) secrets: HashMap<String, Secret>,
    pub(crate) params: ParamRules,
}

/// The tenants, and the users of each.
#[derive(Clone, Debug)]
pub(crate) struct Directory {
    pub(super) top: Top,
    pub(super) tenants: BTreeMap<String, Arc<Tenant>>,
    /// Why a change of a tenant was refused, or why there is no such tenant.
    pub(super) troubles: BTreeMap<String, String>,
    /// Those of them whose plugin is at fault, rather than what is said of them.
    pub(super) broken: HashSet<String>,
    /// Shared with the router.
    pub(super) users: Arc<Users<Route>>,
    /// The users of pending tenants: they get 503, rather than 407.
    pub(super) absent: BTreeMap<String, HashMap<String, Secret>>,
    /// Whose each user of a tenant is to be: the tenant's name by the user's.
    pub(super) claims: Arc<HashMap<String, String>>,
}

impl Directory {
    /// A default pool without users serves every client.
    pub(super) fn alone(top: Top) -> Self {
        let users = match &top.pool {
            Some(tenant) if top.secrets.is_empty() => {
                Users::open(Route::Ready(tenant.pool.clone()), top.params.clone())
            }
            _ => top.users(),
        };
        Self {
            users: Arc::new(users),
            ..Self::among_tenants(top)
        }
    }

    /// Authentication is required; the users are those of the default pool so far.
    pub(super) fn among_tenants(top: Top) -> Self {
        Self {
            users: Arc::new(top.users()),
            top,
            tenants: BTreeMap::new(),
            troubles: BTreeMap::new(),
            broken: HashSet::new(),
            absent: BTreeMap::new(),
            claims: Arc::default(),
        }
    }

    /// Adds a tenant, or replaces the one of this name. A user of another tenant stays that tenant's.
    pub(super) fn add(&mut self, name: &str, tenant: &Arc<Tenant>) {
        let old = self.tenants.insert(name.to_owned(), tenant.clone());
        if self.absent.remove(name).is_some() || old.is_some() {
            Arc::make_mut(&mut self.users).remove(|route| leads_to(route, name));
        }
        let secrets = tenant.made.iter().flat_map(|made| &made.secrets);
        for (user, secret) in secrets {
            if self.whose(name, user).is_none() {
                let route = Route::Ready(tenant.pool.clone());
                Arc::make_mut(&mut self.users).add(user.clone(), secret.clone(), route);
            }
        }
    }

    /// Adds a pending tenant with its users. `before`: keeps the verified passwords.
    pub(super) fn announce(
        &mut self,
        name: &str,
        mut secrets: HashMap<String, Secret>,
        before: &Self,
    ) {
        if let Some(known) = before.absent.get(name) {
            remember(&mut secrets, known);
        }
        let route = Route::Pending(name.into());
        for (user, secret) in &secrets {
            if self.whose(name, user).is_none() {
                Arc::make_mut(&mut self.users).add(user.clone(), secret.clone(), route.clone());
            }
        }
        self.absent.insert(name.to_owned(), secrets);
    }

    /// The tenant whose user this is.
    pub(super) fn owner(&self, user: &str) -> Option<&str> {
        let owner = ready(self.users.principal(user)?)?;
        owner.tenant().map(|name| &**name)
    }

    /// A user that was this tenant's is another one's, or nobody's.
    pub(super) fn hand_over(&mut self, name: &str, user: &str, heir: Option<&String>) {
        let claims = Arc::make_mut(&mut self.claims);
        if claims.get(user).is_some_and(|owner| owner == name) {
            claims.remove(user);
            claims.extend(heir.map(|heir| (user.to_owned(), heir.clone())));
        }
    }

    /// Whose a user is that cannot be this tenant's; `None`: it can be.
    pub(super) fn whose(&self, name: &str, user: &str) -> Option<String> {
        let has = |other: &str| format!("the tenant `{other}` has a user of this name");
        // A pending tenant has a claim only.
        if let Some(owner) = self.users.principal(user).and_then(ready) {
            return match owner.tenant() {
                Some(owner) if **owner == *name => None,
                Some(owner) => Some(has(owner)),
                None => Some("the pool at the top has a user of this name".to_owned()),
            };
        }
        let owner = self.claims.get(user).filter(|owner| *owner != name);
        owner.map(|owner| has(owner))
    }

    /// Whether each of these users can be this tenant's.
    pub(super) fn check_users(&self, name: &str, fields: &TenantConfig) -> Result<(), String> {
        for user in fields.users() {
            if let Some(whose) = self.whose(name, user) {
                return Err(format!(
                    "`user.name` is `{user}`; accepted: a name that is nobody else's, and {whose}"
                ));
            }
        }
        Ok(())
    }

    /// Why a tenant goes without one of its users, if it does.
    pub(super) fn lacks(&self, name: &str) -> Option<String> {
        let made = self.tenants.get(name)?.made.as_ref()?;
        self.check_users(name, &made.fields).err()
    }

    /// The default pool, and then every tenant.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Tenant>> {
        self.top.pool.iter().chain(self.tenants.values())
    }

    /// The tenants by name.
    pub(crate) fn tenants(&self) -> &BTreeMap<String, Arc<Tenant>> {
        &self.tenants
    }

    /// The tenants that are still being made for the first time.
    pub(crate) fn awaited(&self) -> impl Iterator<Item = &String> {
        let absent = self.absent.keys();
        absent.filter(|name| !self.troubles.contains_key(*name))
    }

    /// Why changes were refused, by the name of the tenant.
    pub(crate) fn troubles(&self) -> &BTreeMap<String, String> {
        &self.troubles
    }

    /// Whether it is a tenant's plugin that is at fault.
    pub(crate) fn is_broken(&self, name: &str) -> bool {
        self.broken.contains(name)
    }

    /// The default pool.
    pub(crate) fn top(&self) -> Option<&Arc<Tenant>> {
        self.top.pool.as_ref()
    }
}

impl Top {
    /// Its users alone.
    pub(super) fn users(&self) -> Users<Route> {
        let mut users = Users::new(self.params.clone());
        if let Some(tenant) = &self.pool {
            for (name, secret) in &self.secrets {
                let route = Route::Ready(tenant.pool.clone());
                users.add(name.clone(), secret.clone(), route);
            }
        }
        users
    }
}
