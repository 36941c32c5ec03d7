//! Rule 2: whether, how long and how strictly a key sticks.

use alloc::string::String;
use alloc::vec::Vec;

use crate::bounds::check_ttl;
use crate::error::Invalid;
use crate::pattern::Patterns;

/// The longest time to live accepted, in milliseconds: a leap year.
pub const MAX_TTL_MS: u64 = 366 * 24 * 60 * 60 * 1_000;

/// The time to live where none is set, in milliseconds.
pub const DEFAULT_TTL_MS: u64 = 300_000;

/// Whether requests to a key stick to one proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Mode {
    /// No binding: every request may leave through another proxy.
    #[default]
    Disabled,
    /// A key is bound to one proxy for the time to live.
    Domain,
}

impl Mode {
    /// The mode that a configuration gives, or that a time to live alone implies: whoever says how long a session
    /// lasts, and not whether there is one, wants one.
    pub fn or_implied(mode: Option<Self>, has_ttl: bool) -> Option<Self> {
        mode.or(has_ttl.then_some(Self::Domain))
    }
}

/// What happens to a session whose proxy goes bad before the session ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum OnBad {
    /// The next request gets a fresh proxy.
    #[default]
    Rebind,
    /// Requests fail until the session ends: for users to whom a silent change of exit is worse.
    Strict,
}

/// The policy of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Sticky {
    /// Whether it sticks.
    pub mode: Mode,
    /// How long a session lasts, in milliseconds from its bind; requests do not extend it. Zero is
    /// the same as [`Mode::Disabled`].
    pub ttl_ms: u64,
    /// Ends a session that saw no request for so many milliseconds.
    pub idle_ms: Option<u64>,
    /// Ends a session after so many requests.
    pub max_requests: Option<u32>,
    /// What happens when the proxy goes bad.
    pub on_bad: OnBad,
}

impl Default for Sticky {
    fn default() -> Self {
        Self {
            mode: Mode::Disabled,
            ttl_ms: DEFAULT_TTL_MS,
            idle_ms: None,
            max_requests: None,
            on_bad: OnBad::Rebind,
        }
    }
}

impl Sticky {
    /// Whether requests share an exit under it.
    pub fn sticks(&self) -> bool {
        self.mode == Mode::Domain && self.ttl_ms > 0
    }

    fn check(&self, at: &str, errors: &mut Vec<Invalid>) {
        let field = |name: &str| alloc::format!("{at}.{name}");
        errors.extend(check_ttl(&field("ttl"), self.ttl_ms).err());
        if self.idle_ms == Some(0) {
            let accepted = "at least 1 ms, or leave it out";
            errors.push(Invalid::new(field("idle"), 0, accepted));
        }
        if let Some(max) = self.max_requests
            && !(1..=crate::session::MAX_USES).contains(&max)
        {
            errors.push(Invalid::new(field("max_requests"), max, "1 to 16777215"));
        }
    }
}

/// A different policy for some hosts. What is `None` is as in the general policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Override {
    /// A host (`api.example.com`) or every host below one (`*.example.com`). Of several that match,
    /// the most specific holds: the host itself, then the longest suffix.
    pub pattern: String,
    /// Whether it sticks. When a `ttl_ms` is given and this is not, it does ([`Mode::or_implied`]).
    pub mode: Option<Mode>,
    /// See [`Sticky::ttl_ms`].
    pub ttl_ms: Option<u64>,
    /// See [`Sticky::idle_ms`].
    pub idle_ms: Option<u64>,
    /// See [`Sticky::max_requests`].
    pub max_requests: Option<u32>,
    /// See [`Sticky::on_bad`].
    pub on_bad: Option<OnBad>,
}

impl Override {
    /// The policy of its hosts, beside this general one.
    pub fn over(&self, general: &Sticky) -> Sticky {
        let mode = Mode::or_implied(self.mode, self.ttl_ms.is_some());
        Sticky {
            mode: mode.unwrap_or(general.mode),
            ttl_ms: self.ttl_ms.unwrap_or(general.ttl_ms),
            idle_ms: self.idle_ms.or(general.idle_ms),
            max_requests: self.max_requests.or(general.max_requests),
            on_bad: self.on_bad.unwrap_or(general.on_bad),
        }
    }
}

/// The policies in force, looked up by host.
#[derive(Debug, Default)]
pub(crate) struct Policies {
    general: Sticky,
    special: Patterns<Sticky>,
}

impl Policies {
    /// Invalid values go to `errors`.
    pub(crate) fn read(general: Sticky, overrides: &[Override], errors: &mut Vec<Invalid>) -> Self {
        let before = errors.len();
        general.check("sticky", errors);
        // An error of the general policy is reported once, not again for each override that inherits it.
        let inherited = match errors.len() == before {
            true => general,
            false => Sticky::default(),
        };
        let mut special = Patterns::default();
        for (i, over) in overrides.iter().enumerate() {
            let at = alloc::format!("sticky.override[{i}]");
            let policy = over.over(&inherited);
            policy.check(&at, errors);
            errors.extend(special.insert(&at, &over.pattern, policy).err());
        }
        Self { general, special }
    }

    /// The policy of a normalised host.
    pub(crate) fn of(&self, host: &str) -> Sticky {
        *self.special.get(host).unwrap_or(&self.general)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn policies(general: Sticky, overrides: &[Override]) -> Result<Policies, Invalid> {
        let mut errors = Vec::new();
        let policies = Policies::read(general, overrides, &mut errors);
        errors.into_iter().next().map_or(Ok(policies), Err)
    }

    fn over(pattern: &str, ttl_ms: u64) -> Override {
        Override {
            pattern: pattern.to_string(),
            ttl_ms: Some(ttl_ms),
            ..Override::default()
        }
    }

    #[test]
    fn the_most_specific_override_holds_whatever_the_order() {
        let overrides = [
            over("*.example.com", 1),
            over("*.api.example.com", 2),
            over("v1.api.example.com", 3),
        ];
        let reversed: alloc::vec::Vec<_> = overrides.iter().rev().cloned().collect();
        for overrides in [&overrides[..], &reversed] {
            let policies = policies(Sticky::default(), overrides).unwrap();
            assert_eq!(policies.of("a.example.com").ttl_ms, 1);
            assert_eq!(policies.of("x.y.example.com").ttl_ms, 1);
            assert_eq!(policies.of("v2.api.example.com").ttl_ms, 2);
            assert_eq!(policies.of("v1.api.example.com").ttl_ms, 3);
            assert_eq!(policies.of("example.com"), Sticky::default());
            assert_eq!(policies.of("notexample.com"), Sticky::default());
        }
    }

    #[test]
    fn an_override_takes_the_rest_from_the_general_policy() {
        let general = Sticky {
            on_bad: OnBad::Strict,
            idle_ms: Some(7),
            ..Sticky::default()
        };
        let policies = policies(general, &[over("a.example", 9)]).unwrap();
        let policy = policies.of("a.example");
        assert_eq!(policy.mode, Mode::Domain);
        assert_eq!((policy.ttl_ms, policy.idle_ms), (9, Some(7)));
        assert_eq!(policy.on_bad, OnBad::Strict);
    }

    #[test]
    fn a_wrong_override_names_its_field_and_value() {
        for (overrides, field, value) in [
            (
                alloc::vec![over("a.example", 1), over("*.*.b", 1)],
                "sticky.override[1].match",
                "*.*.b",
            ),
            (alloc::vec![over("", 1)], "sticky.override[0].match", ""),
            (
                alloc::vec![over("A.example", 1), over("a.example.", 1)],
                "sticky.override[1].match",
                "a.example.",
            ),
        ] {
            let error = policies(Sticky::default(), &overrides).unwrap_err();
            assert_eq!((error.field.as_str(), error.value.as_str()), (field, value));
        }
        let error = policies(Sticky::default(), &[over("a.example", u64::MAX)]).unwrap_err();
        assert_eq!(error.field, "sticky.override[0].ttl");
    }
}
