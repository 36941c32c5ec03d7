//! The export `sessions`.

use remora_core as core;

use crate::bindings::exports::remora::egress::sessions::{
    CountPage, Guest, ProxyId, Session, SessionError, SessionPage, StorageError,
};
use crate::{Addition, Shell, with_engine};

impl<A: Addition> Guest for Shell<A> {
    fn bind(key: String, proxy: ProxyId, ttl: u64) -> Result<(), SessionError> {
        Ok(with_engine(|engine, now| {
            engine.bind(now, &key, proxy.into(), ttl)
        })?)
    }

    fn lookup(key: String) -> Result<Option<ProxyId>, SessionError> {
        let proxy = with_engine(|engine, now| engine.lookup(now, &key))?;
        Ok(proxy.map(ProxyId::from))
    }

    fn unbind(key: String) -> Result<bool, SessionError> {
        Ok(with_engine(|engine, now| engine.unbind(now, &key))?)
    }

    fn purge_expired(limit: u32) -> Result<u32, StorageError> {
        Ok(with_engine(|engine, now| engine.purge_expired(now, limit))?)
    }

    fn active_count(cursor: Option<u64>, limit: u32) -> Result<CountPage, StorageError> {
        let (count, next) = with_engine(|engine, now| engine.count_sessions(now, cursor, limit))?;
        Ok(CountPage { count, next })
    }

    fn list(cursor: Option<u64>, limit: u32) -> Result<SessionPage, StorageError> {
        let page = with_engine(|engine, now| engine.list_sessions(now, cursor, limit))?;
        let sessions = page.sessions.into_iter().map(|(key, session)| Session {
            key,
            proxy: session.proxy.into(),
            generation: session.generation,
            bound_at: session.bound_at,
            expires_at: session.expires_at,
        });
        Ok(SessionPage {
            sessions: sessions.collect(),
            next: page.next,
        })
    }
}

impl From<core::Error> for SessionError {
    fn from(error: core::Error) -> Self {
        match error {
            core::Error::Key(error) => Self::Key(error.into()),
            core::Error::Storage(error) => Self::Storage(error.into()),
        }
    }
}
