//! Takes away the callbacks that Envoy need not make.
//!
//! The SDK exports every callback there is, and Envoy makes each one that is exported: for every request one
//! for the response's head, one for each piece of its body, one for its end. Each costs more than what this
//! filter does in it, which is nothing.

use std::convert::Infallible;
use std::error::Error;

use wasm_encoder::reencode::{self, Reencode};
use wasm_encoder::{ExportSection, Module};
use wasmparser::{ExportSectionReader, Parser};

/// What the filter is called by.
const NEEDED: [&str; 11] = [
    "memory",
    "malloc",
    "_initialize",
    "proxy_abi_version_0_2_1",
    "proxy_on_context_create",
    "proxy_on_vm_start",
    "proxy_on_configure",
    "proxy_on_tick",
    "proxy_on_request_headers",
    "proxy_on_log",
    "proxy_on_delete",
];

struct Needed;

impl Reencode for Needed {
    type Error = Infallible;

    fn parse_export_section(
        &mut self,
        exports: &mut ExportSection,
        section: ExportSectionReader<'_>,
    ) -> Result<(), reencode::Error<Infallible>> {
        for export in section {
            let export = export?;
            if NEEDED.contains(&export.name) {
                self.parse_export(exports, export)?;
            }
        }
        Ok(())
    }
}

/// The module with nothing exported but what is needed.
pub(super) fn keep_needed(module: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut kept = Module::new();
    let parser = Parser::new(0);
    Needed.parse_core_module(&mut kept, parser, module)?;
    Ok(kept.finish())
}
