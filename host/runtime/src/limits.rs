//! What a plugin may use.

use std::time::Duration;

use wasmtime::{StoreLimits, StoreLimitsBuilder};

/// What an instance of a plugin may use. What goes beyond costs the call, and the instance that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long a call may run before it traps, the time that it waits for others included. It is looked at every 10 ms,
    /// beginning up to 10 ms after the call has; on a networked storage, when the call begins.
    pub call_timeout: Duration,
    /// How many bytes of memory it may have. The plugin built in starts with 17 pages, 1.1 MB, most of it
    /// stack that is never touched.
    pub memory: usize,
    /// How many elements its tables of functions may have, each.
    pub table_elements: usize,
    /// How many times a call may use its imports.
    pub import_calls: u32,
    /// How many bytes of strings and lists a call may hand to the host at a time.
    pub transfer: usize,
    /// How much of one processor the plugin's calls may take over time, in percent; with nothing spent for a
    /// while, up to a second at once. Above it, calls are refused until it has made up for it; releases and changes of
    /// the pool are charged, and refused only when it owes 10 seconds. `None`: any amount.
    pub processor_percent: Option<u32>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            call_timeout: Duration::from_secs(5),
            memory: 64 << 20,
            table_elements: 20_000,
            import_calls: 1_000_000,
            transfer: 4 << 20,
            processor_percent: None,
        }
    }
}

impl Limits {
    /// For the plugin of somebody who is not trusted with the process: 100 ms a call, 32 MiB, a quarter of
    /// a processor.
    pub fn untrusted() -> Self {
        Self {
            call_timeout: Duration::from_millis(100),
            memory: 32 << 20,
            import_calls: 100_000,
            transfer: 1 << 20,
            processor_percent: Some(25),
            ..Self::default()
        }
    }

    /// Limits of an instance's memory and tables, as wasmtime's store checks them.
    pub(crate) fn of_store(&self) -> StoreLimits {
        StoreLimitsBuilder::new()
            .memory_size(self.memory)
            .table_elements(self.table_elements)
            .build()
    }
}
