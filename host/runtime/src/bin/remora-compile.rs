//! The compiler that a [`remora_host::Compiler`] starts: compiles one component into a cache.

use std::process::ExitCode;

fn main() -> ExitCode {
    remora_host::compiler_main(std::env::args_os().skip(1))
}
