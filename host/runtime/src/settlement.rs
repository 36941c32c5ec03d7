//! What a plugin is told at the end of a request.

use remora_core::{Attempt, Lease, Outcome};
use serde::{Deserialize, Serialize};

/// The end of a request: one attempt, or several that are judged together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settlement {
    /// The lease of its acquire.
    pub lease: Lease,
    /// The host and port asked for; empty for a request without a target.
    pub target: String,
    /// How the attempt of this lease ended.
    pub outcome: Outcome,
    /// The attempts through its fallbacks, in their order.
    pub others: Vec<Attempt>,
    /// Whether the lease is given back; then there are no others.
    pub gives_back: bool,
}

impl Settlement {
    /// A lease that was not used.
    pub(crate) fn unused(lease: Lease) -> Self {
        Self {
            lease,
            target: String::new(),
            outcome: Outcome::Cancelled,
            others: Vec::new(),
            gives_back: true,
        }
    }

    /// Whether it is told by a release alone.
    pub(crate) fn is_release(&self) -> bool {
        self.gives_back
    }

    /// Whether the plugin needs the key and the target: not for what is told on most requests.
    pub(crate) fn needs_about(&self) -> bool {
        match self.outcome {
            Outcome::Cancelled | Outcome::Inconclusive => false,
            Outcome::Success => self.lease.is_doubted,
            _ => true,
        }
    }
}
