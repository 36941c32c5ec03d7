//! What a plugin answers, as far as the types of the contract do not say it. A plugin that breaks it is
//! treated as one that trapped.

use remora_core::{MAX_KEY_LEN, Permit, Released, is_storage_key};

use crate::bindings::{egress, sessions};
use crate::error::{CallError, Error, PluginError};

type Answer<T> = Result<T, CallError>;

/// Entries that one call into the plugin looks at, so that no call takes long.
pub(crate) const PAGE: u32 = 1_024;

/// A session key: it goes into logs, answers and the next release. Empty for a request that belongs to no session.
pub(crate) fn key(key: String) -> Answer<String> {
    if key.is_empty() || is_storage_key(&key) {
        return Ok(key);
    }
    Err(broken(format!(
        "a session key of {} bytes; accepted: up to {MAX_KEY_LEN} bytes of printable ASCII",
        key.len()
    )))
}

/// A page of a list, which was to have up to `limit` items.
pub(crate) fn page<T>(items: Vec<T>, limit: u32) -> Answer<Vec<T>> {
    if items.len() <= limit as usize {
        return Ok(items);
    }
    Err(broken(format!(
        "a page of {} items; asked for: {limit}",
        items.len()
    )))
}

/// A page of sessions. It is cut from "about" `limit` entries, so twice as many are let pass.
pub(crate) fn sessions(page: sessions::SessionPage, limit: u32) -> Answer<sessions::SessionPage> {
    let sessions = self::page(page.sessions, limit.saturating_mul(2))?;
    let checked = sessions.into_iter().map(|session| {
        Ok(sessions::Session {
            key: key(session.key)?,
            ..session
        })
    });
    Ok(sessions::SessionPage {
        sessions: checked.collect::<Answer<_>>()?,
        next: page.next,
    })
}

/// Leases on other exits, of which there were to be up to `limit`.
pub(crate) fn fallbacks(leases: Vec<egress::Lease>, limit: u32) -> Answer<Vec<Permit>> {
    let leases = page(leases, limit)?;
    Ok(leases.into_iter().map(Permit::from).collect())
}

/// The most proxies that a settlement may name besides its own.
const OTHERS: u32 = 1_024;

/// What a release or a settlement did.
pub(crate) fn released(released: egress::Released) -> Answer<Released> {
    let others = page(released.others, OTHERS)?.into_iter();
    Ok(Released {
        ended_session: released.ended_session,
        breaker: released.breaker.into(),
        others: others.map(|o| (o.proxy.into(), o.change.into())).collect(),
    })
}

fn broken(what: String) -> CallError {
    CallError::Trapped(PluginError::Trapped(format!("it answered with {what}")))
}

/// How many pages of a list are asked for, so that a plugin cannot keep its host asking for ever.
pub(crate) struct Pages(u64);

impl Pages {
    /// Enough for `entries` in pages of `size`, and for some that are empty.
    pub(crate) fn of(entries: u64, size: u32) -> Self {
        Self(entries / u64::from(size.max(1)) + 64)
    }

    /// Another page.
    pub(crate) fn turn(&mut self) -> Result<(), Error> {
        match self.0.checked_sub(1) {
            Some(left) => {
                self.0 = left;
                Ok(())
            }
            None => Err(Error::Plugin(PluginError::Trapped(
                "it answered with a list that does not end".into(),
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_key_that_could_forge_a_log_line_is_refused() {
        assert!(key("shop.example?de#alice".into()).is_ok());
        for bad in [
            "a\nb".to_owned(),
            "é".to_owned(),
            "k".repeat(MAX_KEY_LEN + 1),
        ] {
            assert!(matches!(key(bad), Err(CallError::Trapped(_))));
        }
    }

    #[test]
    fn a_list_that_does_not_end_is_given_up() {
        let mut pages = Pages::of(2_048, 1_024);
        let turned = (0..1_000).take_while(|_| pages.turn().is_ok()).count();
        assert_eq!(turned, 66);
    }
}
