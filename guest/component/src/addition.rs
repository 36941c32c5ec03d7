//! What a plugin may add to the decisions without a copy of what is here.

use core::marker::PhantomData;

use remora_core::{Engine, Outcome, Permit};

use crate::HostStorage;

/// What a plugin of one's own does beyond remora's decisions. Everything it keeps in memory belongs to one
/// instance and may be gone with the next call: what others have to see, or what has to last, goes to storage.
pub trait Addition {
    /// Before every acquire. The engine may be told what this one is to know, for instance which proxies to
    /// [leave aside](Engine::leave_aside).
    fn before_acquire(_engine: &mut Engine<HostStorage>, _now: u64) {}

    /// After every attempt that has ended: a release, or one of those that were settled.
    fn after_attempt(_permit: &Permit, _outcome: Outcome) {}
}

/// Adds nothing.
#[derive(Clone, Copy, Debug)]
pub struct Nothing;

impl Addition for Nothing {}

/// The exports of the world, with an addition.
#[derive(Clone, Copy, Debug)]
pub struct Shell<A: Addition = Nothing>(PhantomData<A>);
