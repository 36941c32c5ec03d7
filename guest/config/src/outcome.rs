//! `[outcome]`

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use remora_core::Invalid;
use remora_http::StatusClassifier;
use serde::{Deserialize, Serialize};

use crate::defaults::is_default;

/// `[outcome]`: response statuses that count against a proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Outcome {
    /// The proxy is bad.
    #[serde(skip_serializing_if = "is_default")]
    pub failure_statuses: Option<Vec<u16>>,
    /// The target refuses this exit.
    #[serde(skip_serializing_if = "is_default")]
    pub blocked_statuses: Option<Vec<u16>>,
    /// Other lists for some hosts.
    #[serde(rename = "override", skip_serializing_if = "is_default")]
    pub overrides: Vec<OutcomeOverride>,
}

/// `[[outcome.override]]`: a list that is left out is as in `[outcome]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct OutcomeOverride {
    /// A host, or every host below one.
    #[serde(rename = "match")]
    pub pattern: String,
    /// As in `[outcome]`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub failure_statuses: Option<Vec<u16>>,
    /// As in `[outcome]`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub blocked_statuses: Option<Vec<u16>>,
}

impl Outcome {
    /// The meaning of statuses, and every invalid value.
    pub fn statuses(&self) -> (StatusClassifier, Vec<Invalid>) {
        let mut errors = Vec::new();
        let (failure, blocked) = (&self.failure_statuses, &self.blocked_statuses);
        let general = StatusClassifier::new("outcome", failure.clone(), blocked.clone());
        let mut statuses = general.unwrap_or_else(|error| {
            errors.push(error);
            StatusClassifier::default()
        });
        for (i, over) in self.overrides.iter().enumerate() {
            let at = format!("outcome.override[{i}]");
            let (failure, blocked) = (&over.failure_statuses, &over.blocked_statuses);
            let inserted = statuses.insert(&at, &over.pattern, failure.clone(), blocked.clone());
            errors.extend(inserted.err());
        }
        (statuses, errors)
    }
}
