//! The threads that plugins of tenants run on.

use std::io;

use tokio::runtime::{Builder, Handle, Runtime};

/// How many there are at most, beside one for each tenant: plugins that do not answer hold no thread of another's. Each is
/// there only while it is needed.
const SPARE: usize = 64;

/// Behind the threads that pass bytes on, which are at 0: a plugin that takes all it may have does not make them wait.
/// Not at the end (19), where a busy gateway would leave plugins nothing.
const NICE: i32 = 10;

/// Threads that may be kept waiting, apart from those that everything else needs.
#[derive(Debug)]
pub(super) struct PluginThreads {
    runtime: Option<Runtime>,
    handle: Handle,
}

impl PluginThreads {
    pub(super) fn new(max_tenants: u32) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            // What waits for a place or for a release; the calls themselves are on the others.
            .worker_threads(1)
            .max_blocking_threads(max_tenants as usize + SPARE)
            .thread_name("remora-plugin")
            .on_thread_start(|| {
                // Where the system does not allow it, they share.
                rustix::process::setpriority_process(None, NICE).ok();
            })
            .build()?;
        Ok(Self {
            handle: runtime.handle().clone(),
            runtime: Some(runtime),
        })
    }

    /// Where calls go.
    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for PluginThreads {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Nobody waits for a call that does not end.
            runtime.shutdown_background();
        }
    }
}
