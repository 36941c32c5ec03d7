//! `[retry]`

use remora_core::{Invalid, RETRY_ATTEMPTS, check_retry_attempts};
use serde::{Deserialize, Serialize};

use crate::defaults::is_default;

/// `[retry]`: whether a request that fails is sent again, as the gateway has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// Through how many more proxies, 0 to 10.
    #[serde(skip_serializing_if = "is_default")]
    pub attempts: Option<u32>,
    /// Also where the target refuses the exit. Envoy cannot.
    #[serde(skip_serializing_if = "is_default")]
    pub blocked: Option<bool>,
}

/// The number of further proxies that `retry.attempts` stands for.
///
/// # Errors
///
/// [`Invalid`] for too many.
pub fn attempts(attempts: Option<u32>) -> Result<u32, Invalid> {
    let attempts = attempts.unwrap_or(RETRY_ATTEMPTS);
    check_retry_attempts(attempts)?;
    Ok(attempts)
}
