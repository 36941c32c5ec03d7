//! The configuration in the words of `control.wit`, for both sides of the contract. Macros, because each side has types of
//! its own, generated from the contract: a field of the configuration is converted in this file alone.

/// Makes `to_wit`, for a host: from [`Config`](crate::Config) to the types of the module `$wit`.
#[macro_export]
macro_rules! config_to_wit {
    ($wit:ident) => {
        /// `overrides` are those of `config`, converted: a WIT list is a slice of a list that the caller owns.
        pub(crate) fn to_wit<'a>(
            config: &$crate::Config,
            overrides: &'a [$wit::StickyOverride<'a>],
        ) -> $wit::Config<'a> {
            let (sticky, breaker) = (config.sticky, config.breaker);
            $wit::Config {
                sticky: $wit::Sticky {
                    mode: sticky.mode.into(),
                    ttl: sticky.ttl_ms,
                    idle: sticky.idle_ms,
                    max_requests: sticky.max_requests,
                    on_bad: sticky.on_bad.into(),
                },
                scope: match config.scope {
                    $crate::Scope::Host => $wit::Scope::Host,
                    $crate::Scope::Site => $wit::Scope::Site,
                    $crate::Scope::Session => $wit::Scope::Session,
                },
                overrides,
                strategy: match config.strategy {
                    $crate::StrategyKind::RoundRobin => $wit::Strategy::RoundRobin,
                    $crate::StrategyKind::Random => $wit::Strategy::Random,
                    $crate::StrategyKind::Weighted => $wit::Strategy::Weighted,
                    $crate::StrategyKind::LeastUsed => $wit::Strategy::LeastUsed,
                },
                breaker: $wit::Breaker {
                    open_threshold: breaker.open_threshold,
                    half_open_after: breaker.half_open_after_ms,
                    growth: breaker.growth,
                    max_half_open_after: breaker.max_half_open_after_ms,
                },
                attribution: $wit::Attribution {
                    doubt_for: config.attribution.doubt_for_ms,
                    max_doubts: config.attribution.max_doubts,
                    strike_gap: config.attribution.strike_gap_ms,
                    min_available_percent: config.attribution.min_available_percent,
                },
                avoid_blocked_for: config.avoid_blocked_for_ms,
                max_sessions: config.max_sessions,
                lease_timeout: config.lease_timeout_ms,
            }
        }

        impl<'a> From<&'a $crate::Override> for $wit::StickyOverride<'a> {
            fn from(over: &'a $crate::Override) -> Self {
                Self {
                    pattern: &over.pattern,
                    mode: over.mode.map(Into::into),
                    ttl: over.ttl_ms,
                    idle: over.idle_ms,
                    max_requests: over.max_requests,
                    on_bad: over.on_bad.map(Into::into),
                }
            }
        }

        impl From<$crate::Mode> for $wit::Mode {
            fn from(mode: $crate::Mode) -> Self {
                match mode {
                    $crate::Mode::Disabled => Self::Disabled,
                    $crate::Mode::Domain => Self::Domain,
                }
            }
        }

        impl From<$crate::OnBad> for $wit::OnBad {
            fn from(on_bad: $crate::OnBad) -> Self {
                match on_bad {
                    $crate::OnBad::Rebind => Self::Rebind,
                    $crate::OnBad::Strict => Self::Strict,
                }
            }
        }
    };
}

/// The way back, for a guest: from the types of the module `$wit` to [`Config`](crate::Config).
#[macro_export]
macro_rules! config_from_wit {
    ($wit:ident) => {
        impl From<$wit::Config> for $crate::Config {
            fn from(config: $wit::Config) -> Self {
                let (sticky, breaker) = (config.sticky, config.breaker);
                Self {
                    sticky: $crate::Sticky {
                        mode: sticky.mode.into(),
                        ttl_ms: sticky.ttl,
                        idle_ms: sticky.idle,
                        max_requests: sticky.max_requests,
                        on_bad: sticky.on_bad.into(),
                    },
                    scope: match config.scope {
                        $wit::Scope::Host => $crate::Scope::Host,
                        $wit::Scope::Site => $crate::Scope::Site,
                        $wit::Scope::Session => $crate::Scope::Session,
                    },
                    overrides: config.overrides.into_iter().map(Into::into).collect(),
                    strategy: match config.strategy {
                        $wit::Strategy::RoundRobin => $crate::StrategyKind::RoundRobin,
                        $wit::Strategy::Random => $crate::StrategyKind::Random,
                        $wit::Strategy::Weighted => $crate::StrategyKind::Weighted,
                        $wit::Strategy::LeastUsed => $crate::StrategyKind::LeastUsed,
                    },
                    breaker: $crate::BreakerPolicy {
                        open_threshold: breaker.open_threshold,
                        half_open_after_ms: breaker.half_open_after,
                        growth: breaker.growth,
                        max_half_open_after_ms: breaker.max_half_open_after,
                    },
                    attribution: $crate::AttributionPolicy {
                        doubt_for_ms: config.attribution.doubt_for,
                        max_doubts: config.attribution.max_doubts,
                        strike_gap_ms: config.attribution.strike_gap,
                        min_available_percent: config.attribution.min_available_percent,
                    },
                    avoid_blocked_for_ms: config.avoid_blocked_for,
                    max_sessions: config.max_sessions,
                    lease_timeout_ms: config.lease_timeout,
                }
            }
        }

        impl From<$wit::StickyOverride> for $crate::Override {
            fn from(over: $wit::StickyOverride) -> Self {
                Self {
                    pattern: over.pattern,
                    mode: over.mode.map(Into::into),
                    ttl_ms: over.ttl,
                    idle_ms: over.idle,
                    max_requests: over.max_requests,
                    on_bad: over.on_bad.map(Into::into),
                }
            }
        }

        impl From<$wit::Mode> for $crate::Mode {
            fn from(mode: $wit::Mode) -> Self {
                match mode {
                    $wit::Mode::Disabled => Self::Disabled,
                    $wit::Mode::Domain => Self::Domain,
                }
            }
        }

        impl From<$wit::OnBad> for $crate::OnBad {
            fn from(on_bad: $wit::OnBad) -> Self {
                match on_bad {
                    $wit::OnBad::Rebind => Self::Rebind,
                    $wit::OnBad::Strict => Self::Strict,
                }
            }
        }
    };
}
