//! Builds the guests for wasm32-unknown-unknown and turns them into components, so that `cargo build`
//! and `cargo test` need no step of their own for them.

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

mod exports;

const TARGET: &str = "wasm32-unknown-unknown";

/// What the guests are made of.
const INPUTS: [&str; 13] = [
    "Cargo.toml",
    "Cargo.lock",
    "wit",
    "guest/core/Cargo.toml",
    "guest/core/src",
    "guest/http/Cargo.toml",
    "guest/http/src",
    "guest/config/Cargo.toml",
    "guest/config/src",
    "guest/component/Cargo.toml",
    "guest/component/src",
    "guest/envoy/Cargo.toml",
    "guest/envoy/src",
];

/// The constant that exposes it, the file, the features of `remora-component` that it is built with, and
/// what is said of it.
const COMPONENTS: [(&str, &str, &[&str], &str); 3] = [
    (
        "PLUGIN",
        "remora.wasm",
        &[],
        "The plugin, without the public suffix list: the scopes `host` and `session`.",
    ),
    (
        "PLUGIN_WITH_SITES",
        "remora-sites.wasm",
        &["public-suffix-list"],
        "The plugin with the public suffix list: the scope `site`, too.",
    ),
    (
        "TRAPPING_PLUGIN",
        "trapping.wasm",
        &["trap"],
        "For tests: the plugin, but an acquire for a target that begins with `trap.` traps.",
    ),
];

/// The same for the modules that Envoy loads, built from `remora-envoy`.
const FILTERS: [(&str, &str, &[&str], &str); 3] = [
    (
        "ENVOY_FILTER",
        "remora_envoy.wasm",
        &[],
        "The Envoy filter, without the public suffix list: the scopes `host` and `session`.",
    ),
    (
        "ENVOY_FILTER_WITH_SITES",
        "remora_envoy_sites.wasm",
        &["public-suffix-list"],
        "The Envoy filter with the public suffix list: the scope `site`, too.",
    ),
    (
        "TRAPPING_ENVOY_FILTER",
        "trapping_envoy.wasm",
        &["trap"],
        "For tests: the Envoy filter, but a request for a target that begins with `trap.` traps, and every session \
         is written late.",
    ),
];

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../..");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    for input in INPUTS {
        println!("cargo::rerun-if-changed={}", root.join(input).display());
    }
    let mut constants = String::new();
    for (constant, file, features, doc) in COMPONENTS {
        let module = build(&root, &out, "remora-component", features)?;
        let component = wit_component::ComponentEncoder::default()
            .validate(true)
            .module(&module)?
            .encode()?;
        constants += &expose(&out.join(file), &component, constant, doc)?;
    }
    for (constant, file, features, doc) in FILTERS {
        let module = build(&root, &out, "remora-envoy", features)?;
        let filter = exports::keep_needed(&module)?;
        constants += &expose(&out.join(file), &filter, constant, doc)?;
    }
    fs::write(out.join("components.rs"), constants)?;
    Ok(())
}

/// Writes the bytes and answers with the constants that expose them.
fn expose(path: &Path, bytes: &[u8], constant: &str, doc: &str) -> Result<String, Box<dyn Error>> {
    fs::write(path, bytes)?;
    Ok(format!(
        "/// {doc}\npub const {constant}: &[u8] = include_bytes!({path:?});\n/// [`{constant}`] as a file.\npub const {constant}_PATH: &str = {path:?};\n"
    ))
}

fn build(
    root: &Path,
    out: &Path,
    package: &str,
    features: &[&str],
) -> Result<Vec<u8>, Box<dyn Error>> {
    let target_dir = out.join("guest");
    let status = Command::new(env::var("CARGO")?)
        .current_dir(root)
        .args(["build", "--locked", "--package", package])
        .args(["--profile", "guest", "--target", TARGET])
        .arg("--target-dir")
        .arg(&target_dir)
        .arg("--features")
        .arg(features.join(","))
        // What the outer cargo was told about the host does not hold for the guest.
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTFLAGS")
        .env_remove("RUSTC_WRAPPER")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("CARGO_BUILD_TARGET")
        .status()?;
    if !status.success() {
        return Err(format!(
            "the guest did not build. If the target is missing: rustup target add {TARGET}"
        )
        .into());
    }
    let name = format!("guest/{}.wasm", package.replace('-', "_"));
    let file = target_dir.join(TARGET).join(name);
    Ok(fs::read(file)?)
}
