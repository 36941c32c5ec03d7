//! What the tests of the rules share: a storage, a clock that tests move, and a world of instances.

#![allow(dead_code, unused_imports)]

mod tables;
mod world;

pub(crate) use tables::{Shared, Tables};
pub(crate) use world::{Client, T0, World, domain, proxy, spec, tagged, target_of, weighted};
