//! Who is served at this moment.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use hyper::header::HeaderName;

use super::tenant::Tenant;
use crate::client::Clients;
use crate::config::TenantConfig;
use crate::password::{Secret, remember};

/// Whose a client is.
#[derive(Clone, Debug)]
pub(crate) enum Party {
    /// It is served.
    There(Arc<Tenant>),
    /// The tenant of this name is still being made, or cannot be made.
    Absent(Arc<str>),
}

impl Party {
    /// The tenant; `None` where it is absent.
    fn there(&self) -> Option<&Arc<Tenant>> {
        match self {
            Self::There(tenant) => Some(tenant),
            Self::Absent(_) => None,
        }
    }

    fn is(&self, name: &str) -> bool {
        match self {
            Self::There(tenant) => tenant.gateway().tenant().is_some_and(|is| **is == *name),
            Self::Absent(is) => **is == *name,
        }
    }
}

/// What belongs to no tenant.
#[derive(Clone, Debug)]
pub(crate) struct Top {
    /// The pool at the top of the file, if there is one.
    pub(crate) pool: Option<Arc<Tenant>>,
    /// Its users.
    pub(crate) secrets: HashMap<String, Secret>,
    pub(crate) session_header: Option<HeaderName>,
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
    pub(super) clients: Clients<Party>,
    /// The users of tenants that are absent: they hear that, rather than that nobody knows them.
    pub(super) absent: BTreeMap<String, HashMap<String, Secret>>,
    /// Whose each user of a tenant is to be: the tenant's name by the user's.
    pub(super) claims: Arc<HashMap<String, String>>,
}

impl Directory {
    /// Everybody is heard where there is one pool that has no users.
    pub(super) fn alone(top: Top) -> Self {
        let clients = match &top.pool {
            Some(pool) if top.secrets.is_empty() => {
                Clients::everybody(Party::There(pool.clone()), top.session_header.clone())
            }
            _ => top.clients(),
        };
        Self {
            clients,
            ..Self::among_tenants(top)
        }
    }

    /// Only users are heard; so far those of the pool at the top.
    pub(super) fn among_tenants(top: Top) -> Self {
        Self {
            clients: top.clients(),
            top,
            tenants: BTreeMap::new(),
            troubles: BTreeMap::new(),
            broken: HashSet::new(),
            absent: BTreeMap::new(),
            claims: Arc::default(),
        }
    }

    /// One more tenant, or another one of this name. A user that somebody else has stays whose it is.
    pub(super) fn add(&mut self, name: &str, tenant: &Arc<Tenant>) {
        let old = self.tenants.insert(name.to_owned(), tenant.clone());
        if self.absent.remove(name).is_some() || old.is_some() {
            self.clients.remove(|by| by.is(name));
        }
        let secrets = tenant.made.iter().flat_map(|made| &made.secrets);
        for (user, secret) in secrets {
            if self.whose(name, user).is_none() {
                self.clients
                    .add(user.clone(), secret.clone(), Party::There(tenant.clone()));
            }
        }
    }

    /// A tenant that is not there, and whose users these would be. `before`: what is known of their passwords.
    pub(super) fn announce(
        &mut self,
        name: &str,
        mut secrets: HashMap<String, Secret>,
        before: &Self,
    ) {
        if let Some(known) = before.absent.get(name) {
            remember(&mut secrets, known);
        }
        let party = Party::Absent(name.into());
        for (user, secret) in &secrets {
            if self.whose(name, user).is_none() {
                self.clients
                    .add(user.clone(), secret.clone(), party.clone());
            }
        }
        self.absent.insert(name.to_owned(), secrets);
    }

    /// The tenant whose user this is.
    pub(super) fn owner(&self, user: &str) -> Option<&str> {
        let owner = self.clients.by(user)?.there()?;
        owner.gateway().tenant().map(|name| &**name)
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
        // Who is absent has a claim, and no more.
        if let Some(owner) = self.clients.by(user).and_then(Party::there) {
            return match owner.gateway().tenant() {
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

    /// The pool at the top, and then every tenant.
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

    /// The pool at the top.
    pub(crate) fn top(&self) -> Option<&Arc<Tenant>> {
        self.top.pool.as_ref()
    }
}

impl Top {
    /// Its users alone.
    pub(super) fn clients(&self) -> Clients<Party> {
        let mut clients = Clients::nobody(self.session_header.clone());
        if let Some(pool) = &self.pool {
            for (name, secret) in &self.secrets {
                let party = Party::There(pool.clone());
                clients.add(name.clone(), secret.clone(), party);
            }
        }
        clients
    }
}
