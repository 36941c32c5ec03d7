//! remora's decisions as a WebAssembly component: the world `remora:egress/plugin` bound to
//! [`remora_core`]. It only translates; a rule found here is in the wrong room.

mod control;
mod convert;
mod egress;
mod imports;
mod sessions;

use core::cell::RefCell;

use remora_core::Engine;

use bindings::remora::egress::clock;
use imports::HostStorage;

#[allow(missing_docs, unreachable_pub, clippy::all)]
mod bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "plugin",
        generate_all,
    });

    use super::Plugin;
    export!(Plugin);
}

struct Plugin;

thread_local! {
    // A component instance runs one call at a time: a "thread local" is the instance's state.
    static ENGINE: RefCell<Engine<HostStorage>> = RefCell::new(Engine::new(HostStorage));
}

/// Runs `f` on the instance's engine, with the time.
fn with_engine<T>(f: impl FnOnce(&mut Engine<HostStorage>, u64) -> T) -> T {
    ENGINE.with_borrow_mut(|engine| f(engine, clock::now()))
}
