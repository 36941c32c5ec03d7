//! `remora envoy`

use std::path::{Path, PathBuf};

use clap::Args;

use super::{ConfigArgument, Failure, check};
use crate::config::{self, ConfigError};
use crate::envoy::Plan;

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
    let file = config::read(path)?;
    let wrong = |error| ConfigError::Build {
        path: path.display().to_string(),
        error,
    };
    check::dry(path, &file).await?;
    let plan = Plan::new(&file).map_err(wrong)?;
    if let Some(dir) = &argument.dir {
        return plan.write(dir).await;
    }
    let wasm = absolute(&argument.wasm)?;
    std::fs::write(&wasm, plan.module())
        .map_err(|error| format!("cannot write {}: {error}", wasm.display()))?;
    let bootstrap = plan.bootstrap(&wasm).map_err(wrong)?;
    print!("{}", serde_yaml_ng::to_string(&bootstrap)?);
    Ok(())
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    Ok(std::path::absolute(path)?)
}
