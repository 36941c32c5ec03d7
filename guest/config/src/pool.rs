//! The tables of a pool together.

use alloc::vec::Vec;

use remora_core::{Config, Invalid};

use crate::breaker::Breaker;
use crate::rotation::Rotation;
use crate::sticky::Sticky;

/// The tables that the core's configuration is made of, wherever they stand. (Files that hold them list them one by one:
/// serde's `flatten` loses unknown fields and their lines.)
#[derive(Clone, Copy, Debug)]
pub struct Tables<'a> {
    /// `[sticky]`
    pub sticky: &'a Sticky,
    /// `[rotation]`
    pub rotation: &'a Rotation,
    /// `[breaker]`
    pub breaker: &'a Breaker,
}

impl Tables<'_> {
    /// The core's configuration; a field that is left out has the core's default.
    pub fn core(&self) -> Config {
        let mut config = Config::default();
        self.sticky.set(&mut config);
        self.rotation.set(&mut config);
        self.breaker
            .set(&mut config.breaker, &mut config.attribution);
        config
    }

    /// Every invalid value, but for a scope that a plugin does not have.
    pub fn errors(&self) -> Vec<Invalid> {
        let config = self.core();
        let mut errors = config.errors();
        errors.extend(self.breaker.error(&config.breaker));
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::Filter;
    use remora_core::Mode;

    fn read(tables: &str) -> Filter {
        serde_json::from_str(&alloc::format!(r#"{{{tables}, "proxy": []}}"#)).unwrap()
    }

    #[test]
    fn every_error_of_every_table_is_reported_once() {
        let filter = read(
            r#""sticky": {"ttl": "400d", "idle": "0s", "max_sessions": 0,
                "override": [{"match": "*.*"}, {"match": "a.example", "max_requests": 0}, {"match": "A.example"}]},
               "rotation": {"lease_timeout": "0s"},
               "breaker": {"open_threshold": 0, "growth": 0, "max_half_open_after": "10s", "max_doubts": 0, "min_available_percent": 101}"#,
        );
        let errors = filter.tables().errors();
        let fields: Vec<&str> = errors.iter().map(|error| &*error.field).collect();
        let expected = [
            "breaker.open_threshold",
            "breaker.growth",
            "breaker.max_doubts",
            "breaker.min_available_percent",
            "sticky.max_sessions",
            "rotation.lease_timeout",
            "sticky.ttl",
            "sticky.idle",
            "sticky.override[0].match",
            "sticky.override[1].max_requests",
            "sticky.override[2].match",
            "breaker.max_half_open_after",
        ];
        assert_eq!(fields, expected);
    }

    #[test]
    fn fields_left_out_have_the_defaults_of_the_core() {
        let config = read(r#""rotation": {}"#).tables().core();
        assert_eq!(config, Config::default());
        // A table without a mode means sessions.
        for tables in [
            r#""sticky": {}"#,
            r#""sticky": {"scope": "session"}"#,
            r#""sticky": {"on_bad": "strict"}"#,
        ] {
            let config = read(tables).tables().core();
            assert_eq!(config.sticky.mode, Mode::Domain, "{tables}");
        }
        let config = read(r#""sticky": {"ttl": "1m", "mode": "disabled"}"#);
        assert_eq!(config.tables().core().sticky.mode, Mode::Disabled);
        let config = read(r#""sticky": {"ttl": "1m"}"#);
        assert_eq!(config.tables().core().sticky.mode, Mode::Domain);
    }
}
