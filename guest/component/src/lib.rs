//! remora's decisions as a WebAssembly component: the world `remora:egress/plugin` bound to
//! [`remora_core`]. It only translates; a rule found here is in the wrong room.
//!
//! A plugin that adds to these decisions says what it adds in an [`Addition`] and exports [`Shell`] with it:
//!
//! ```ignore
//! struct Mine;
//! impl remora_component::Addition for Mine {}
//! type Plugin = remora_component::Shell<Mine>;
//! remora_component::export!(Plugin with_types_in remora_component::bindings);
//! ```

mod addition;
mod control;
mod convert;
mod egress;
mod imports;
mod sessions;

use core::cell::RefCell;

use remora_core::Engine;

use bindings::remora::egress::clock;

pub use addition::{Addition, Nothing, Shell};
pub use bindings::export;
pub use imports::HostStorage;

#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "plugin",
        generate_all,
        pub_export_macro: true,
    });
}

#[cfg(feature = "plugin")]
#[allow(unreachable_pub)]
mod plugin {
    type Plugin = crate::Shell;
    crate::export!(Plugin with_types_in crate::bindings);
}

thread_local! {
    // A component instance runs one call at a time: a "thread local" is the instance's state.
    static ENGINE: RefCell<Engine<HostStorage>> = RefCell::new(Engine::new(HostStorage));
}

/// Runs `f` on the instance's engine, with the time.
fn with_engine<T>(f: impl FnOnce(&mut Engine<HostStorage>, u64) -> T) -> T {
    ENGINE.with_borrow_mut(|engine| f(engine, now()))
}

/// Milliseconds since the Unix epoch, from the host.
pub fn now() -> u64 {
    clock::now()
}
