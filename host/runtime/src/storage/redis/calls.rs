//! The storage operations, each one round trip.

use std::sync::atomic::Ordering;

use redis::Value;
use remora_core::{Cell, Exchange, Head, Page, Storage, StorageError, Table, is_storage_key};

use super::layout::{self, GRACE_MS};
use super::script::{EXCHANGE, FIRST_TO_EXPIRE, SCAN};
use super::{PATIENCE, RedisStorage};
use crate::storage::remote::{Answer, Pair, RemoteStorage};

impl RedisStorage {
    async fn get(&self, table: Table, key: &str) -> Result<Option<Cell>, StorageError> {
        let mut get = redis::cmd("GET");
        get.arg(self.layout.entry(table, key));
        let (value, _) = self.send(&get.into()).await?;
        cell(value)
    }

    async fn get_both(
        &self,
        first: (Table, &str),
        second: (Table, &str),
    ) -> Result<Pair, StorageError> {
        let mut get = redis::cmd("MGET");
        for (table, key) in [first, second] {
            get.arg(self.layout.entry(table, key));
        }
        let (values, _) = self.send(&get.into()).await?;
        match <[Value; 2]>::try_from(list(values)?) {
            Ok([one, two]) => Ok((cell(one)?, cell(two)?)),
            Err(_) => Err(StorageError::Corrupt),
        }
    }

    async fn exchange(
        &self,
        table: Table,
        key: &str,
        expected: Option<Cell>,
        new: Option<Cell>,
    ) -> Result<Exchange, StorageError> {
        let (entry, index) = (self.layout.entry(table, key), self.layout.index(table));
        let mark = self.marks.fetch_add(1, Ordering::Relaxed);
        let expected_bytes = expected.as_ref().map(layout::encode);
        let new_bytes = new.as_ref().map(|cell| layout::encode_marked(cell, mark));
        let (dropped_at, score) = new.as_ref().map(layout::expiry).unwrap_or_default();
        let grace = GRACE_MS.to_string();
        let arguments: [&[u8]; 6] = [
            expected_bytes.as_ref().map_or(&[], |bytes| bytes),
            new_bytes.as_ref().map_or(&[], |bytes| bytes),
            dropped_at.as_bytes(),
            score.as_bytes(),
            key.as_bytes(),
            grace.as_bytes(),
        ];
        let call = EXCHANGE.call(&[&entry, &index], &arguments).changing();
        let (answer, again) = self.send(&call).await?;
        let stored = || {
            self.link.changed();
            if table == Table::Sessions {
                self.link.recent.note(key, expected, new);
            }
            Ok(Exchange::Stored)
        };
        match answer {
            Value::Int(1) => stored(),
            // Sent twice, and gone: this may have been us the first time. What was wanted holds.
            Value::BulkString(current) if current.is_empty() && again && new.is_none() => stored(),
            Value::BulkString(current) if current.is_empty() => Ok(Exchange::Conflict(None)),
            Value::BulkString(current) => Ok(Exchange::Conflict(Some(layout::decode(&current)?))),
            _ => Err(StorageError::Corrupt),
        }
    }

    async fn head(&self, table: Table, limit: u32) -> Result<Head, StorageError> {
        let (index, limit) = (self.layout.index(table), limit.to_string());
        let entries = self.layout.entries(table);
        let arguments = [limit.as_bytes(), entries.as_bytes()];
        let (answer, _) = self
            .send(&FIRST_TO_EXPIRE.call(&[&index], &arguments))
            .await?;
        let mut answer = list(answer)?.into_iter();
        let Some(Value::Int(population)) = answer.next() else {
            return Err(StorageError::Corrupt);
        };
        Ok(Head {
            population: u64::try_from(population).map_err(|_| StorageError::Corrupt)?,
            entries: named(answer)?,
        })
    }

    async fn page(
        &self,
        table: Table,
        cursor: Option<u64>,
        limit: u32,
    ) -> Result<Page, StorageError> {
        let index = self.layout.index(table);
        let entries = self.layout.entries(table);
        let cursor = cursor.unwrap_or(0).to_string();
        let limit = limit.max(1).to_string();
        let arguments = [cursor.as_bytes(), limit.as_bytes(), entries.as_bytes()];
        let (answer, _) = self.send(&SCAN.call(&[&index], &arguments)).await?;
        page(answer)
    }
}

/// The answer to a scan.
fn page(answer: Value) -> Result<Page, StorageError> {
    let mut answer = list(answer)?.into_iter();
    let next: u64 = answer
        .next()
        .and_then(|next| redis::from_redis_value(next).ok())
        .ok_or(StorageError::Corrupt)?;
    Ok(Page {
        entries: named(answer)?,
        next: (next != 0).then_some(next),
    })
}

pub(super) fn cell(value: Value) -> Result<Option<Cell>, StorageError> {
    match value {
        Value::Nil => Ok(None),
        Value::BulkString(bytes) => layout::decode(&bytes).map(Some),
        _ => Err(StorageError::Corrupt),
    }
}

pub(super) fn list(answer: Value) -> Result<Vec<Value>, StorageError> {
    match answer {
        Value::Array(values) => Ok(values),
        _ => Err(StorageError::Corrupt),
    }
}

/// Names and values in turn.
fn named(mut values: impl Iterator<Item = Value>) -> Result<Vec<(String, Cell)>, StorageError> {
    let mut entries = Vec::new();
    while let Some(name) = values.next() {
        let name: String = redis::from_redis_value(name).map_err(|_| StorageError::Corrupt)?;
        // A plugin that asked for such a key itself would be ended.
        if !is_storage_key(&name) {
            return Err(StorageError::Corrupt);
        }
        let Some(Value::BulkString(value)) = values.next() else {
            return Err(StorageError::Corrupt);
        };
        entries.push((name, layout::decode(&value)?));
    }
    Ok(entries)
}

/// What a server's answer holds, for tests/fuzz.
pub(crate) fn entries(answer: &[u8]) -> Vec<(String, Cell)> {
    let Ok(answer) = redis::parse_redis_value(answer) else {
        return Vec::new();
    };
    if let Ok(Some(cell)) = cell(answer.clone()) {
        return vec![("cell".to_owned(), cell)];
    }
    page(answer).map(|page| page.entries).unwrap_or_default()
}

impl RemoteStorage for RedisStorage {
    fn load<'a>(&'a self, table: Table, key: &'a str) -> Answer<'a, Option<Cell>> {
        Box::pin(async move {
            match table {
                Table::Cursor => self.cursor.load(table, key),
                _ => self.get(table, key).await,
            }
        })
    }

    fn load_pair<'a>(
        &'a self,
        first: (Table, &'a str),
        second: (Table, &'a str),
    ) -> Answer<'a, Pair> {
        Box::pin(async move {
            if first.0 == Table::Cursor || second.0 == Table::Cursor {
                let one = self.load(first.0, first.1).await?;
                return Ok((one, self.load(second.0, second.1).await?));
            }
            self.get_both(first, second).await
        })
    }

    fn compare_exchange<'a>(
        &'a self,
        table: Table,
        key: &'a str,
        expected: Option<Cell>,
        new: Option<Cell>,
    ) -> Answer<'a, Exchange> {
        Box::pin(async move {
            if table == Table::Cursor {
                let (expected, new) = (expected.as_ref(), new.as_ref());
                return self.cursor.compare_exchange(table, key, expected, new);
            }
            self.exchange(table, key, expected, new).await
        })
    }

    fn first_to_expire(&self, table: Table, limit: u32) -> Answer<'_, Head> {
        Box::pin(async move {
            match table {
                Table::Cursor => self.cursor.first_to_expire(table, limit),
                _ => self.head(table, limit).await,
            }
        })
    }

    fn scan(&self, table: Table, cursor: Option<u64>, limit: u32) -> Answer<'_, Page> {
        Box::pin(async move {
            match table {
                Table::Cursor => self.cursor.scan(table, cursor, limit),
                _ => self.page(table, cursor, limit).await,
            }
        })
    }

    fn now_ms(&self) -> Option<u64> {
        self.link.clock.now_ms()
    }

    fn time_known(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            let connected = self.link.connection(PATIENCE).await;
            connected.map(|_| ()).ok_or(StorageError::Unavailable)
        })
    }
}
