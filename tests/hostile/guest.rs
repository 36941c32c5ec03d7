//! Plugins written to do harm. Each is the same harmless plugin, in WebAssembly text, with a part replaced.

use wit_component::{ComponentEncoder, StringEncoding};
use wit_parser::Resolve;

const WIT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit");

/// What is replaced. A body comes before the harmless answer of its function.
#[derive(Clone, Copy, Default)]
pub struct Guest {
    pub start: &'static str,
    pub configure: &'static str,
    pub acquire: &'static str,
    pub release: &'static str,
    /// The address of a string: where it is, and how long.
    pub session_key: Option<(u32, u32)>,
    pub list: &'static str,
    /// In every call but those by which it is made.
    pub every: &'static str,
}

impl Guest {
    /// As a component of the world `remora:egress/plugin`.
    pub fn component(&self) -> Vec<u8> {
        let mut module = wat::parse_str(self.text()).unwrap();
        let mut resolve = Resolve::default();
        let (package, _) = resolve.push_path(WIT).unwrap();
        let world = resolve.select_world(&[package], Some("plugin")).unwrap();
        wit_component::embed_component_metadata(
            &mut module,
            &resolve,
            world,
            StringEncoding::UTF8,
            false,
        )
        .unwrap();
        let mut encoder = ComponentEncoder::default();
        let encoder = encoder.validate(true).module(&module).unwrap();
        encoder.encode().unwrap()
    }

    /// Answers are written at 1024, where zeroes mean: it went well. The first proxy's id is kept at 512.
    fn text(&self) -> String {
        let Self {
            start,
            configure,
            acquire,
            release,
            list,
            every,
            session_key,
        } = self;
        let key_is_target = i32::from(session_key.is_none());
        let (key, key_len) = session_key.unwrap_or_default();
        format!(
            r#"(module
  (import "remora:egress/clock@0.1.0" "now" (func $now (result i64)))
  (import "remora:egress/storage@0.1.0" "load" (func $load (param i32 i32 i32 i32)))
  (import "remora:egress/storage@0.1.0" "compare-exchange" (func $cas (param i32 i32)))
  (import "remora:egress/storage@0.1.0" "scan" (func $scan (param i32 i32 i64 i32 i32)))
  (memory (export "memory") 2)
  (table $t 1 funcref)
  (global $heap (mut i32) (i32.const 8192))
  (global $n (mut i64) (i64.const 0))
  (data (i32.const 256) "key")
  (data (i32.const 264) "\ff\fe\c0")
  (func $recurse (param i32) (result i32)
    (i32.add (call $recurse (local.get 0)) (call $recurse (i32.const 1))))
  ;; Creates an entry of the table 5 under the next key of 8 letters.
  (func $write
    (local $n i64) (local $i i32)
    (global.set $n (i64.add (global.get $n) (i64.const 1)))
    (local.set $n (global.get $n))
    (loop $digit
      (i32.store8 (i32.add (i32.const 300) (local.get $i))
        (i32.add (i32.const 97) (i32.wrap_i64 (i64.and (local.get $n) (i64.const 15)))))
      (local.set $n (i64.shr_u (local.get $n) (i64.const 4)))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $digit (i32.lt_u (local.get $i) (i32.const 8))))
    (call $exchange (i32.const 300) (i32.const 8)))
  ;; Creates an entry of the table 5 that is kept for ever.
  (func $exchange (param i32 i32)
    (i32.store8 (i32.const 2048) (i32.const 5))
    (i32.store (i32.const 2052) (local.get 0))
    (i32.store (i32.const 2056) (local.get 1))
    (i32.store8 (i32.const 2128) (i32.const 1))
    (i64.store (i32.const 2184) (i64.const -1))
    (call $cas (i32.const 2048) (i32.const 4096)))
  (func $rewind (result i32) (global.set $heap (i32.const 8192)) (i32.const 1024))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
    (global.set $heap (i32.add (local.get $at) (local.get 3)))
    (block $enough
      (br_if $enough (i32.le_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536))))
      (drop (memory.grow (i32.const 4))))
    (local.get $at))
  (func $start {start})
  (start $start)
  (func (export "remora:egress/control@0.1.0#configure") (param i32) (result i32)
    {configure} (call $rewind))
  (func (export "remora:egress/control@0.1.0#add-proxies") (param i32 i32) (result i32)
    (if (local.get 1) (then
      (i64.store (i32.const 512) (i64.load (local.get 0)))
      (i64.store (i32.const 520) (i64.load offset=8 (local.get 0)))))
    (memory.fill (i32.const 1024) (i32.const 0) (i32.const 256)) (call $rewind))
  (func (export "remora:egress/control@0.1.0#remove-proxy") (param i64 i64) (result i32)
    {every} (call $rewind))
  (func (export "remora:egress/control@0.1.0#set-health") (param i64 i64 i32) (result i32) (i32.const 1))
  (func (export "remora:egress/control@0.1.0#stats") (result i32)
    {every} (call $rewind))
  (func (export "remora:egress/control@0.1.0#proxies") (param i32 i32) (result i32)
    {every} (call $rewind))
  (func (export "remora:egress/egress@0.1.0#acquire")
    (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i64 i32) (result i32)
    (memory.fill (i32.const 1024) (i32.const 0) (i32.const 256))
    (i64.store (i32.const 1032) (i64.load (i32.const 512)))
    (i64.store (i32.const 1040) (i64.load (i32.const 520)))
    (i32.store8 (i32.const 1120) (i32.const {key_is_target}))
    {every} {acquire} (call $rewind))
  (func (export "remora:egress/egress@0.1.0#session-key")
    (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i64 i32) (result i32)
    (memory.fill (i32.const 1024) (i32.const 0) (i32.const 256))
    (i32.store (i32.const 1028) (i32.const {key}))
    (i32.store (i32.const 1032) (i32.const {key_len}))
    (call $rewind))
  (func (export "remora:egress/egress@0.1.0#release")
    (param i64 i64 i64 i32 i32 i64 i64 i32 i32 i32 i32 i32 i32 i32) (result i32)
    (memory.fill (i32.const 1024) (i32.const 0) (i32.const 256))
    {every} {release} (call $rewind))
  (func (export "remora:egress/egress@0.1.0#fallbacks") (param i32) (result i32)
    (memory.fill (i32.const 1024) (i32.const 0) (i32.const 256)) (call $rewind))
  (func (export "remora:egress/egress@0.1.0#settle") (param i32 i32 i32 i32 i32 i32) (result i32)
    (memory.fill (i32.const 1024) (i32.const 0) (i32.const 256))
    {every} {release} (call $rewind))
  (func (export "remora:egress/egress@0.1.0#holds")
    (param i64 i64 i64 i32 i32 i64 i64 i32 i32 i32) (result i32)
    (memory.fill (i32.const 1024) (i32.const 0) (i32.const 256)) (call $rewind))
  (func (export "remora:egress/sessions@0.1.0#bind") (param i32 i32 i64 i64 i64) (result i32) (call $rewind))
  (func (export "remora:egress/sessions@0.1.0#lookup") (param i32 i32) (result i32) (call $rewind))
  (func (export "remora:egress/sessions@0.1.0#unbind") (param i32 i32) (result i32) (call $rewind))
  (func (export "remora:egress/sessions@0.1.0#purge-expired") (param i32) (result i32)
    (memory.fill (i32.const 1024) (i32.const 0) (i32.const 256))
    (i32.store (i32.const 1028) (local.get 0)) (call $rewind))
  (func (export "remora:egress/sessions@0.1.0#active-count") (param i32 i64 i32) (result i32)
    {every} (call $rewind))
  (func (export "remora:egress/sessions@0.1.0#list") (param i32 i64 i32) (result i32)
    (memory.fill (i32.const 1024) (i32.const 0) (i32.const 256))
    {every} {list} (call $rewind))
)"#
        )
    }
}
