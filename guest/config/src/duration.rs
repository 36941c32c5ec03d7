//! Durations with their unit: `"30s"`, `"10m"`.

use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;
use core::time::Duration;

use serde::de::{Deserializer, Error, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

/// A duration, in text with its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Duration);

impl Time {
    /// The accepted values, in words.
    pub const ACCEPTED: &str = "a length of time with its unit, such as \"30s\" or \"10m\"";

    /// So many milliseconds.
    pub const fn from_millis(ms: u64) -> Self {
        Self(Duration::from_millis(ms))
    }

    /// In milliseconds; the largest number where that is not enough.
    pub fn ms(self) -> u64 {
        self.0.as_millis().try_into().unwrap_or(u64::MAX)
    }
}

/// As people write it: in the largest unit that says it without a fraction.
pub fn shown(duration: Duration) -> String {
    match u64::try_from(duration.as_millis()) {
        Ok(ms) if Duration::from_millis(ms) == duration => remora_core::time(ms),
        _ => humantime::format_duration(duration).to_string(),
    }
}

struct TimeVisitor;

impl Visitor<'_> for TimeVisitor {
    type Value = Time;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Time::ACCEPTED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Time, E> {
        let duration = humantime::parse_duration(text);
        duration
            .map(Time)
            .map_err(|_| E::custom(format!("{text:?} is not {}", Time::ACCEPTED)))
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TimeVisitor)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(self.0))
    }
}
