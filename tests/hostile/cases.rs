//! What the plugins do, and what their own tenant hears of it.

use super::guest::Guest;

/// Where it goes wrong.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// When the manager is made.
    Build,
    /// In a call of `acquire`.
    Acquire,
    /// In a call of `release`.
    Release,
    /// In `sessions()`, which asks for `list`.
    List,
    /// Nowhere: it gets its answer, and no more.
    Nowhere,
}

pub struct Case {
    pub name: &'static str,
    pub guest: Guest,
    pub at: At,
    /// A part of the error.
    pub error: &'static str,
}

const NONE: Guest = Guest {
    start: "",
    configure: "",
    acquire: "",
    release: "",
    session_key: None,
    list: "",
    every: "",
};

const LOOP: &str = "(loop $l (br $l))";

pub const CASES: [Case; 21] = [
    Case {
        name: "a loop in acquire",
        guest: Guest { acquire: LOOP, ..NONE },
        at: At::Acquire,
        error: "it ran longer than a call may",
    },
    Case {
        name: "a loop in release",
        guest: Guest { release: LOOP, ..NONE },
        at: At::Release,
        error: "it ran longer than a call may",
    },
    Case {
        name: "a loop in configure",
        guest: Guest { configure: LOOP, ..NONE },
        at: At::Build,
        error: "it ran longer than a call may",
    },
    Case {
        name: "a loop in the start function",
        guest: Guest { start: LOOP, ..NONE },
        at: At::Build,
        error: "cannot start the plugin",
    },
    Case {
        name: "a trap in every call",
        guest: Guest { every: "unreachable", ..NONE },
        at: At::Acquire,
        error: "unreachable",
    },
    Case {
        name: "deep recursion",
        guest: Guest { acquire: "(drop (call $recurse (i32.const 0)))", ..NONE },
        at: At::Acquire,
        error: "call stack exhausted",
    },
    Case {
        // The limits are those of `Limits::untrusted`, here and below; a `Runtime` has room for more.
        name: "memory up to the limit, all of it written to",
        guest: Guest {
            acquire: "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
                      (memory.fill (i32.const 65536) (i32.const 1)
                        (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 65536)))
                      (if (i32.gt_u (memory.size) (i32.const 512)) (then unreachable))",
            ..NONE
        },
        at: At::Nowhere,
        error: "",
    },
    Case {
        name: "a table up to the limit",
        guest: Guest {
            acquire: "(loop $l (br_if $l
                        (i32.ne (table.grow $t (ref.null func) (i32.const 64)) (i32.const -1))))
                      (if (i32.gt_u (table.size $t) (i32.const 20000)) (then unreachable))",
            ..NONE
        },
        at: At::Nowhere,
        error: "",
    },
    Case {
        // Twice the limit: a sixteenth of the room.
        name: "memory beyond the limit, or a trap",
        guest: Guest {
            acquire: "(if (i32.eq (memory.grow (i32.const 1024)) (i32.const -1)) (then unreachable))",
            ..NONE
        },
        at: At::Acquire,
        error: "unreachable",
    },
    Case {
        name: "a lease of a proxy that is nobody's",
        guest: Guest {
            acquire: "(i64.store (i32.const 1032) (i64.const 0x0123456789abcdef))
                      (i64.store (i32.const 1040) (i64.const 0x7edcba9876543210))",
            ..NONE
        },
        at: At::Acquire,
        error: "no proxy is switched on",
    },
    Case {
        name: "a lease of a generation and a time that never were, for every request",
        guest: Guest {
            acquire: "(i64.store (i32.const 1048) (i64.const -1))
                      (i64.store (i32.const 1064) (i64.const -1))
                      (i64.store (i32.const 1072) (i64.const -1))
                      (i32.store8 (i32.const 1096) (i32.const 1))
                      (i64.store (i32.const 1104) (i64.const -1))
                      (i64.store (i32.const 1112) (i64.const -1))",
            ..NONE
        },
        at: At::Nowhere,
        error: "",
    },
    Case {
        name: "a string of 100 MB",
        guest: Guest { session_key: Some((0, 100 << 20)), ..NONE },
        at: At::Acquire,
        error: "out of bounds",
    },
    Case {
        name: "a string of 16 MB that is there",
        guest: Guest {
            acquire: "(drop (memory.grow (i32.const 256)))",
            session_key: Some((0, 16 << 20)),
            ..NONE
        },
        at: At::Acquire,
        error: "fuel",
    },
    Case {
        name: "a string that is not UTF-8",
        guest: Guest { session_key: Some((264, 3)), ..NONE },
        at: At::Acquire,
        error: "utf-8",
    },
    Case {
        name: "a session key of control characters",
        guest: Guest { session_key: Some((0, 16)), ..NONE },
        at: At::Acquire,
        error: "a session key of 16 bytes",
    },
    Case {
        name: "a storage key of a megabyte",
        guest: Guest {
            acquire: "(drop (memory.grow (i32.const 16)))
                      (call $load (i32.const 5) (i32.const 65536) (i32.const 1000000) (i32.const 4096))",
            ..NONE
        },
        at: At::Acquire,
        error: "a storage key of 1000000 bytes",
    },
    Case {
        name: "a flood of storage writes",
        guest: Guest {
            acquire: "(loop $l (call $write)
                        (br_if $l (i64.ne (i64.rem_u (global.get $n) (i64.const 5000)) (i64.const 0))))",
            ..NONE
        },
        at: At::Nowhere,
        error: "",
    },
    Case {
        name: "a flood of scans",
        guest: Guest {
            acquire: "(loop $w (call $write)
                        (br_if $w (i64.ne (i64.rem_u (global.get $n) (i64.const 2000)) (i64.const 0))))
                      (loop $l
                        (call $scan (i32.const 5) (i32.const 0) (i64.const 0) (i32.const -1) (i32.const 4096))
                        (global.set $heap (i32.const 8192))
                        (br $l))",
            ..NONE
        },
        at: At::Acquire,
        error: "it ran longer than a call may",
    },
    Case {
        name: "a storm of compare-and-exchange",
        guest: Guest {
            acquire: "(loop $l (call $exchange (i32.const 256) (i32.const 3)) (br $l))",
            ..NONE
        },
        at: At::Acquire,
        error: "it used its imports more than 100000 times in a call",
    },
    Case {
        name: "imports without end",
        guest: Guest { acquire: "(loop $l (drop (call $now)) (br $l))", ..NONE },
        at: At::Acquire,
        error: "it used its imports more than 100000 times in a call",
    },
    Case {
        name: "a list that does not end",
        guest: Guest {
            list: "(i32.store8 (i32.const 1040) (i32.const 1))",
            ..NONE
        },
        at: At::List,
        error: "a list that does not end",
    },
];
