//! `[[proxy]]`

use alloc::string::String;
use alloc::vec::Vec;

use remora_core::{Invalid, ProxyId, ProxySpec};
use serde::{Deserialize, Serialize};

use crate::defaults::is_default;
use crate::secret::Secret;

/// `[[proxy]]`, as the gateway has it: with credentials in the URL, tags, and exits behind one address.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ProxyEntry {
    /// `scheme://user:password@host:port`
    pub url: Secret,
    /// Its share of new sessions under the `weighted` strategy, 1 to 65,535.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub weight: u32,
    /// Tags that a request may ask for.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tags: Vec<String>,
    /// How many exits there are behind its address.
    #[serde(default, skip_serializing_if = "is_default")]
    pub exits: Option<u32>,
}

impl ProxyEntry {
    /// Every value that is invalid for the core; `i` is its place in the file.
    pub fn errors(&self, i: usize) -> Vec<Invalid> {
        let spec = ProxySpec {
            id: ProxyId::nil(),
            weight: self.weight,
            tags: self.tags.clone(),
        };
        spec.errors(i)
    }
}

pub(crate) fn one() -> u32 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde passes a reference.
pub(crate) fn is_one(weight: &u32) -> bool {
    *weight == one()
}
