//! What a proxy wants to know of who uses it, with the places that a lease fills.

use std::fmt;

use remora_core::Grant;
use uuid::Uuid;

/// A user name and a password, as they are (not percent-encoded).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Credentials {
    /// The user name.
    pub username: String,
    /// The password.
    pub password: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

/// What a lease puts into the places of a template.
pub(crate) struct Parts {
    session: String,
    ttl_minutes: String,
    tags: String,
}

const SESSION: &str = "{session}";
const TTL_MINUTES: &str = "{ttl_minutes}";
const TAGS: &str = "{tags}";

impl Parts {
    pub(crate) fn of(grant: &Grant, tags: &[&str]) -> Self {
        let lease = &grant.lease;
        let (id, minutes) = match grant.session {
            // The same on every machine that shares the session, and another one for the next session.
            Some(span) => {
                let name = format!("{}\n{}\n{}", lease.key, lease.generation, span.bound_at);
                let ttl_ms = span.expires_at.saturating_sub(span.bound_at);
                let id = Uuid::new_v5(&lease.proxy, name.as_bytes());
                (id, ttl_ms.div_ceil(60_000).max(1))
            }
            None => (Uuid::new_v4(), 1),
        };
        let mut session = id.simple().to_string();
        // As long as every provider takes.
        session.truncate(16);
        Self {
            session,
            ttl_minutes: minutes.to_string(),
            tags: tags.iter().map(|tag| format!("-{tag}")).collect(),
        }
    }

    pub(crate) fn name_session(text: &str) -> bool {
        text.contains(SESSION)
    }

    pub(crate) fn stand_in(text: &str) -> bool {
        let all = [SESSION, TTL_MINUTES, TAGS];
        all.into_iter().any(|part| text.contains(part))
    }

    /// An unknown placeholder: a word in braces that names none.
    pub(crate) fn unknown(text: &str) -> Option<&str> {
        text.match_indices('{').find_map(|(at, _)| {
            let rest = text.get(at..)?;
            let part = rest.get(..=rest.find('}')?)?;
            let name = part.trim_matches(['{', '}']);
            let is_name = (1..=40).contains(&name.len())
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            let is_known = [SESSION, TTL_MINUTES, TAGS].contains(&part);
            (is_name && !is_known).then_some(part)
        })
    }

    pub(crate) fn fill(&self, text: &str) -> String {
        text.replace(SESSION, &self.session)
            .replace(TTL_MINUTES, &self.ttl_minutes)
            .replace(TAGS, &self.tags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use remora_core::{Lease, Permit, Reason, Span};

    fn grant(key: &str, generation: u64, bound_at: u64) -> Grant {
        Grant {
            lease: Lease {
                key: key.into(),
                permit: Permit {
                    proxy: Uuid::from_u128(7),
                    generation,
                    era: 0,
                    probe: false,
                    acquired_at: bound_at,
                    deadline: bound_at,
                    is_doubted: false,
                },
            },
            reason: Reason::Bound,
            session: (generation != 0).then_some(Span {
                bound_at,
                expires_at: bound_at + 61_000,
            }),
        }
    }

    #[test]
    fn a_template_is_filled_alike_as_long_as_a_session_lasts() {
        let fill = |grant: &Grant, tags: &[&str]| {
            Parts::of(grant, tags).fill("u{tags}-s-{session}-t-{ttl_minutes}")
        };
        let first = fill(&grant("a.example", 5, 1_000), &["country", "de"]);
        assert!(first.starts_with("u-country-de-s-") && first.ends_with("-t-2"));
        assert_eq!(
            first,
            fill(&grant("a.example", 5, 1_000), &["country", "de"])
        );
        for other in [
            grant("b.example", 5, 1_000),
            grant("a.example", 6, 1_000),
            // The same number again, after the numbers have begun anew.
            grant("a.example", 5, 2_000),
        ] {
            assert_ne!(first, fill(&other, &["country", "de"]));
        }
        let rotated = grant("a.example", 0, 1_000);
        assert_ne!(fill(&rotated, &[]), fill(&rotated, &[]));
        assert!(fill(&rotated, &[]).starts_with("u-s-"));
    }
}
