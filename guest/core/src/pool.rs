//! The proxies a plugin may choose from. It knows ids, weights and tags; never a URL or a credential.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use hashbrown::HashMap;
use uuid::Uuid;

use crate::error::Invalid;
use crate::key;
use crate::sorted;

/// A proxy's identity.
pub type ProxyId = Uuid;

const MAX_WEIGHT: u32 = 65_535;

/// A proxy as the host describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ProxySpec {
    /// Its identity, the same on every worker and machine that shares the storage.
    pub id: ProxyId,
    /// Its share of new sessions under the `weighted` strategy, 1 to 65,535.
    pub weight: u32,
    /// What a request may ask for. Printable ASCII without `&`, `#` and `?`, up to 64 bytes each.
    pub tags: Vec<String>,
}

impl ProxySpec {
    /// Every invalid value; `i` is its place among the proxies it comes with.
    pub fn errors(&self, i: usize) -> Vec<Invalid> {
        let mut errors = Vec::new();
        if !(1..=MAX_WEIGHT).contains(&self.weight) {
            let field = alloc::format!("proxy[{i}].weight");
            errors.push(Invalid::new(field, self.weight, "1 to 65535"));
        }
        for tag in &self.tags {
            if let Err(error) = key::check_tag(tag) {
                let field = alloc::format!("proxy[{i}].tags");
                let accepted = "printable ASCII without `&`, `#` and `?`, 1 to 64 bytes";
                errors.push(Invalid::new(
                    field,
                    tag,
                    alloc::format!("{accepted} ({error})"),
                ));
            }
        }
        errors
    }
}

/// A proxy in the pool.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) id: ProxyId,
    /// The id as text: the proxy's key in storage, made once.
    pub(crate) key: Box<str>,
    pub(crate) weight: u32,
    pub(crate) healthy: bool,
    tags: Vec<u32>,
}

/// The tags that a request asks for, as the pool numbers them.
#[derive(Debug, Default)]
pub(crate) enum Wanted {
    /// No tags: every proxy will do.
    #[default]
    Any,
    /// All of these.
    All(Vec<u32>),
    /// A tag that no proxy carries.
    Nothing,
}

/// The pool, in the order in which the proxies were added.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    proxies: Vec<Proxy>,
    index: HashMap<ProxyId, usize>,
    tag_numbers: HashMap<String, u32>,
    /// `weight_sums[i]` is the weight of all proxies up to and including `i`.
    weight_sums: Vec<u64>,
}

impl Pool {
    pub(crate) fn len(&self) -> usize {
        self.proxies.len()
    }

    pub(crate) fn get(&self, i: usize) -> &Proxy {
        &self.proxies[i]
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Proxy> {
        self.proxies.iter()
    }

    pub(crate) fn find(&self, id: &ProxyId) -> Option<usize> {
        self.index.get(id).copied()
    }

    /// Adds proxies, or gives those already there a new weight and new tags. All or none.
    pub(crate) fn add(&mut self, specs: &[ProxySpec]) -> Result<(), Invalid> {
        for (i, spec) in specs.iter().enumerate() {
            if let Some(first) = spec.errors(i).into_iter().next() {
                return Err(first);
            }
        }
        for spec in specs {
            let mut tags: Vec<u32> = Vec::new();
            for tag in &spec.tags {
                sorted::insert(&mut tags, self.number(tag));
            }
            match self.find(&spec.id) {
                Some(i) => {
                    self.proxies[i].weight = spec.weight;
                    self.proxies[i].tags = tags;
                }
                None => {
                    self.index.insert(spec.id, self.proxies.len());
                    let mut text = Uuid::encode_buffer();
                    self.proxies.push(Proxy {
                        id: spec.id,
                        key: Box::from(&*spec.id.hyphenated().encode_lower(&mut text)),
                        weight: spec.weight,
                        healthy: true,
                        tags,
                    });
                }
            }
        }
        self.sum_weights();
        Ok(())
    }

    /// Takes a proxy out and answers with it.
    pub(crate) fn remove(&mut self, id: &ProxyId) -> Option<Proxy> {
        let i = self.index.remove(id)?;
        let proxy = self.proxies.remove(i);
        for (i, proxy) in self.proxies.iter().enumerate().skip(i) {
            self.index.insert(proxy.id, i);
        }
        self.sum_weights();
        Some(proxy)
    }

    /// Switches a proxy on or off. Answers whether it is in the pool.
    pub(crate) fn set_health(&mut self, id: &ProxyId, healthy: bool) -> bool {
        match self.find(id) {
            Some(i) => {
                self.proxies[i].healthy = healthy;
                true
            }
            None => false,
        }
    }

    pub(crate) fn wanted(&self, tags: &[&str]) -> Wanted {
        if tags.is_empty() {
            return Wanted::Any;
        }
        let numbers: Option<Vec<u32>> = tags
            .iter()
            .map(|tag| self.tag_numbers.get(*tag).copied())
            .collect();
        numbers.map_or(Wanted::Nothing, Wanted::All)
    }

    /// Whether the proxy is switched on and carries what is wanted.
    pub(crate) fn serves(&self, i: usize, wanted: &Wanted) -> bool {
        let proxy = &self.proxies[i];
        proxy.healthy
            && match wanted {
                Wanted::Any => true,
                Wanted::All(tags) => tags.iter().all(|t| proxy.tags.binary_search(t).is_ok()),
                Wanted::Nothing => false,
            }
    }

    pub(crate) fn tags(&self, i: usize) -> Vec<String> {
        let mut names = Vec::new();
        for (name, number) in &self.tag_numbers {
            if self.proxies[i].tags.binary_search(number).is_ok() {
                sorted::insert(&mut names, name.clone());
            }
        }
        names
    }

    /// The weight of all proxies together.
    pub(crate) fn total_weight(&self) -> u64 {
        self.weight_sums.last().copied().unwrap_or(0)
    }

    /// The proxy whose share of the total weight holds `position`.
    pub(crate) fn at_weight(&self, position: u64) -> usize {
        self.weight_sums.partition_point(|sum| *sum <= position)
    }

    fn number(&mut self, tag: &str) -> u32 {
        // A pool has fewer than 2^32 tags: each takes memory of its own.
        let next = self.tag_numbers.len() as u32;
        *self.tag_numbers.entry_ref(tag).or_insert(next)
    }

    fn sum_weights(&mut self) {
        self.weight_sums.clear();
        let mut sum = 0;
        for proxy in &self.proxies {
            sum += u64::from(proxy.weight);
            self.weight_sums.push(sum);
        }
    }
}
