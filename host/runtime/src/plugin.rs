//! A plugin: a compiled component of the world `remora:egress/plugin`.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use wasmtime::component::InstancePre;

use crate::bindings::PluginPre;
use crate::epoch::{Epoch, Watched};
use crate::error::PluginError;
use crate::imports::HostState;
use crate::limits::Limits;
use crate::remote::imports::RemoteState;
use crate::runtime::Runtime;

/// A compiled plugin, ready to be instantiated any number of times. Cheap to clone.
#[derive(Clone)]
pub struct Plugin {
    code: Arc<Code>,
    limits: Limits,
}

/// What was compiled. All plugins of the same bytes in a runtime have it together.
pub(crate) struct Code {
    pub(crate) pre: PluginPre<HostState>,
    /// The same, for storage behind a network.
    pub(crate) remote_pre: InstancePre<RemoteState>,
    pub(crate) epoch: Epoch,
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugin")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl Plugin {
    pub(crate) fn new(code: Arc<Code>) -> Self {
        Self {
            code,
            limits: Limits::default(),
        }
    }

    /// Compiles a component of the world `remora:egress/plugin` on the shared [`Runtime`].
    ///
    /// ```
    /// use remora_host::Plugin;
    ///
    /// let refused = Plugin::from_bytes(b"not a component").unwrap_err();
    /// assert!(refused.to_string().starts_with("not a WebAssembly component"));
    /// # Ok::<(), remora_host::PluginError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`PluginError`] when it is not a component, imports more than a clock and storage, or lacks
    /// an export.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PluginError> {
        Runtime::shared()?.load(bytes)
    }

    /// Reads a file and compiles it, see [`Plugin::from_bytes`].
    ///
    /// # Errors
    ///
    /// [`PluginError`], as there, and when the file cannot be read.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, PluginError> {
        Runtime::shared()?.load_file(path)
    }

    /// The plugin built in, without the public suffix list. Compiled once in a process.
    ///
    /// # Errors
    ///
    /// [`PluginError`] when this machine cannot run WebAssembly (no memory for the allocator, say).
    pub fn builtin() -> Result<Self, PluginError> {
        Runtime::shared()?.builtin()
    }

    /// The plugin built in, with the public suffix list that the scope `site` needs. Compiled once in a
    /// process.
    ///
    /// # Errors
    ///
    /// As [`Plugin::builtin`].
    pub fn builtin_with_sites() -> Result<Self, PluginError> {
        Runtime::shared()?.builtin_with_sites()
    }

    /// The same plugin with other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// What its instances may use.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    pub(crate) fn code(&self) -> &Code {
        &self.code
    }

    /// Until the answer is dropped, its calls let other threads run more often.
    pub(crate) fn watch(&self) -> Watched<'_> {
        self.code.epoch.watch()
    }
}
