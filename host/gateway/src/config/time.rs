//! Lengths of time, as people write them.

use std::fmt;
use std::time::Duration;

use serde::de::{Deserializer, Unexpected, Visitor};

/// Reads a length of time.
struct Time;

impl Visitor<'_> for Time {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a length of time with its unit, such as \"30s\" or \"10m\"")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Duration, E> {
        humantime::parse_duration(text).map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
    }
}

/// As people write it: in the largest unit that says it without a fraction.
pub(super) fn shown(time: Duration) -> String {
    match u64::try_from(time.as_millis()) {
        Ok(ms) if Duration::from_millis(ms) == time => remora_core::time(ms),
        _ => humantime::format_duration(time).to_string(),
    }
}

pub(super) fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    deserializer.deserialize_str(Time)
}

pub(super) fn some_time<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    time(deserializer).map(Some)
}
