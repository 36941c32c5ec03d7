//! What differs from host to host.

use alloc::string::String;

use hashbrown::HashMap;

use crate::error::Invalid;
use crate::key;

/// Values for some hosts: for one (`api.example.com`) or for every host below one (`*.example.com`). Of
/// several that match, the most specific holds: the host itself, then the longest suffix.
#[derive(Clone, Debug)]
pub struct Patterns<T> {
    hosts: HashMap<String, T>,
    suffixes: HashMap<String, T>,
}

impl<T> Default for Patterns<T> {
    fn default() -> Self {
        Self {
            hosts: HashMap::new(),
            suffixes: HashMap::new(),
        }
    }
}

impl<T> Patterns<T> {
    /// Adds a value for the hosts that match `pattern`. `at` names it in the error.
    ///
    /// # Errors
    ///
    /// [`Invalid`] names `{at}.match` when it is no pattern, or one that is there already.
    pub fn insert(&mut self, at: &str, pattern: &str, value: T) -> Result<(), Invalid> {
        let (map, host) = match pattern.strip_prefix("*.") {
            Some(suffix) => (&mut self.suffixes, suffix),
            None => (&mut self.hosts, pattern),
        };
        let invalid =
            |accepted: &str| Invalid::new(alloc::format!("{at}.match"), pattern, accepted);
        if host.contains('*') {
            return Err(invalid("a host such as `example.com`, or `*.` and a host"));
        }
        let mut normal = String::new();
        key::push_host(&mut normal, host)
            .map_err(|error| invalid(&alloc::format!("a host, or `*.` and a host ({error})")))?;
        if map.insert(normal, value).is_some() {
            return Err(invalid("each pattern once"));
        }
        Ok(())
    }

    /// The value for a target as a request spells it, with or without a port.
    pub fn find(&self, target: &str) -> Option<&T> {
        if self.is_empty() {
            return None;
        }
        let mut host = String::new();
        key::push_host(&mut host, target).ok()?;
        self.get(&host)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty() && self.suffixes.is_empty()
    }

    /// The value for a host that is normalised (rule 1).
    pub fn get(&self, host: &str) -> Option<&T> {
        if self.is_empty() {
            return None;
        }
        self.hosts.get(host).or_else(|| {
            host.match_indices('.')
                .find_map(|(dot, _)| self.suffixes.get(&host[dot + 1..]))
        })
    }
}
