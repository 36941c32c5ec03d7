//! A component that nobody should compile.

use std::fmt::Write;

/// A component that keeps a compiler busy: one long function, several times over.
pub fn endless() -> Vec<u8> {
    let mut text = String::from("(component (core module ");
    for function in 0..60 {
        write!(
            text,
            "(func $f{function} (param i64) (result i64) (local i64) "
        )
        .unwrap();
        for step in 0..20_000 {
            write!(
                text,
                "(local.set 1 (i64.rotl (i64.add (local.get 0) (i64.const {step})) (local.get 1)))"
            )
            .unwrap();
        }
        text += "(local.get 1))";
    }
    text += "))";
    wat::parse_str(text).unwrap()
}
