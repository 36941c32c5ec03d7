//! The list of addresses that Envoy is to try, and who of them served.

use std::net::SocketAddr;

use hashbrown::HashMap;
use remora_core::{Permit, ProxyId};

/// The request header that Envoy's load balancing policy reads, and that no upstream proxy gets to see.
pub const HEADER: &str = "x-remora-upstream";

/// The addresses of the pool, as Envoy spells them.
#[derive(Clone, Debug, Default)]
pub struct Addresses(HashMap<ProxyId, Box<str>>);

impl Addresses {
    /// The addresses of a pool.
    pub fn new(pool: &[(ProxyId, SocketAddr)]) -> Self {
        let spelt = pool.iter().map(|(id, at)| (*id, at.to_string().into()));
        Self(spelt.collect())
    }

    /// The address of a proxy.
    pub fn of(&self, proxy: &ProxyId) -> Option<&str> {
        self.0.get(proxy).map(|address| &**address)
    }

    /// The header's value: the lease's proxy and then the fallbacks. `None` for a proxy without an address.
    pub fn list(&self, first: &ProxyId, fallbacks: &[Permit]) -> Option<String> {
        let mut list = String::with_capacity(24 * (1 + fallbacks.len()));
        list.push_str(self.of(first)?);
        for fallback in fallbacks {
            list.push(',');
            list.push_str(self.of(&fallback.proxy)?);
        }
        Some(list)
    }

    /// The place of `address` among the fallbacks, if it is one of theirs.
    pub fn place(&self, address: &str, fallbacks: &[Permit]) -> Option<usize> {
        fallbacks
            .iter()
            .position(|fallback| self.of(&fallback.proxy) == Some(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envoy_is_told_the_leased_proxy_first_and_who_served_is_found_again() {
        let id = ProxyId::from_u128;
        let pool = [
            (id(1), "192.0.2.1:3128".parse().unwrap()),
            (id(2), "[2001:db8::1]:3128".parse().unwrap()),
            (id(3), "192.0.2.3:3128".parse().unwrap()),
        ];
        let addresses = Addresses::new(&pool);
        let permit = |n| Permit {
            proxy: id(n),
            generation: 0,
            era: 0,
            probe: false,
            acquired_at: 0,
            deadline: 0,
            is_doubted: false,
        };
        let fallbacks = [permit(2), permit(1)];
        assert_eq!(
            addresses.list(&id(3), &fallbacks).unwrap(),
            "192.0.2.3:3128,[2001:db8::1]:3128,192.0.2.1:3128"
        );
        assert_eq!(addresses.place("192.0.2.1:3128", &fallbacks), Some(1));
        assert_eq!(addresses.place("192.0.2.3:3128", &fallbacks), None);
        assert_eq!(addresses.list(&id(4), &[]), None);
    }
}
