//! `remora envoy`

use std::path::{Path, PathBuf};

use clap::Args;

use super::{ConfigArgument, check};
use crate::config::{self, Shell};
use crate::envoy::Plan;
use crate::stdout::{Failure, say};

/// Where to.
#[derive(Debug, Args)]
pub(super) struct EnvoyArgument {
    #[command(flatten)]
    pub(super) file: ConfigArgument,
    /// Write bootstrap, endpoints, filter configuration and the filter into this directory, which a running
    /// Envoy watches; without it, a bootstrap with everything in it is printed.
    #[arg(long, value_name = "DIR", conflicts_with = "wasm")]
    dir: Option<PathBuf>,
    /// Where the printed bootstrap looks for the filter; it is written there.
    #[arg(long, value_name = "FILE", default_value = "remora_envoy.wasm")]
    wasm: PathBuf,
}

pub(super) async fn envoy(argument: &EnvoyArgument) -> Result<(), Failure> {
    let path = &argument.file.config;
    let config = config::load(path)?.validate_with_paths(Shell::Envoy)?;
    let wrong = |error| check::of(path, error);
    let plan = Plan::new(&config).map_err(wrong)?;
    check::dry(path, &config).await?;
    if let Some(dir) = &argument.dir {
        plan.write(dir).await?;
        let dir = dir.display();
        return Ok(say(format_args!(
            "{dir}: bootstrap.yaml, endpoints.yaml, filter.yaml and remora_envoy.wasm are there.\n\
             Next: envoy --config-path {dir}/bootstrap.yaml (one that runs takes changes up by itself)"
        ))?);
    }
    let wasm = absolute(&argument.wasm)?;
    std::fs::write(&wasm, plan.module())
        .map_err(|error| format!("cannot write {}: {error}", wasm.display()))?;
    let bootstrap = plan.bootstrap(&wasm).map_err(wrong)?;
    // Beside the bootstrap, which goes to a file or a pipe.
    eprintln!(
        "remora: the filter is in {}; next: envoy --config-path FILE, with what is printed here in FILE",
        wasm.display()
    );
    Ok(say(serde_yaml_ng::to_string(&bootstrap)?.trim_end())?)
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    Ok(std::path::absolute(path)?)
}
