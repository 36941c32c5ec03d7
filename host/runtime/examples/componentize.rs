//! Makes a component of a plugin's core module, as `wasm-tools component new` does:
//! `cargo run -p remora-host --example componentize -- module.wasm plugin.wasm`.

use std::error::Error;
use std::{env, fs};

use wit_component::ComponentEncoder;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [module, plugin] = &arguments[..] else {
        return Err("arguments: MODULE PLUGIN".into());
    };
    let mut encoder = ComponentEncoder::default();
    let component = encoder
        .validate(true)
        .module(&fs::read(module)?)?
        .encode()?;
    fs::write(plugin, component)?;
    Ok(())
}
