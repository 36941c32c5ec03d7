//! The command line.

mod ask;
mod check;
mod envoy;
mod hash;
mod reload;
mod serve;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use remora_host::compiler_main;
use tracing_subscriber::EnvFilter;

use crate::config::{self, ConfigError, Format, Shell};
use crate::tenants;
use ask::Ask;

/// Sticky egress sessions: one exit IP per target for as long as a session lasts.
#[derive(Debug, Parser)]
#[command(name = "remora", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Write JSON instead of tables for people; `serve`: log in JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the forward proxy.
    Serve(ConfigArgument),
    /// Say whether a configuration file is good, and what it means.
    Check(ConfigArgument),
    /// The pool of a running gateway, in numbers.
    Stats(PoolArgument),
    /// The live sessions of a running gateway.
    Sessions(PoolArgument),
    /// The pool of a running gateway, proxy by proxy.
    Proxies(PoolArgument),
    /// The tenants of a running gateway.
    Tenants(AdminArgument),
    /// Hash a password for a `password_hash`; it is read from the terminal, or from the standard input.
    HashPassword,
    /// The other side of `code_cache`: compile the plugin on the standard input.
    #[command(name = tenants::COMPILE, hide = true)]
    CompilePlugin {
        #[arg(allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Make the configuration of an Envoy with remora's filter.
    Envoy(envoy::EnvoyArgument),
    /// Watch it work: upstream proxies, an origin and a client on loopback, inside this process.
    Demo,
}

#[derive(Debug, Args)]
struct ConfigArgument {
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = "remora.toml")]
    config: PathBuf,
}

#[derive(Debug, Args)]
struct AdminArgument {
    #[command(flatten)]
    file: ConfigArgument,
    /// The admin address; without it, the one of the configuration file.
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
}

impl AdminArgument {
    fn ask(&self, json: bool) -> Ask<'_> {
        Ask {
            config: &self.file.config,
            admin: self.admin,
            tenant: None,
            json,
        }
    }
}

#[derive(Debug, Args)]
struct PoolArgument {
    #[command(flatten)]
    admin: AdminArgument,
    /// The tenant whose pool it is; without it, the pool at the top of the configuration file.
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
}

impl PoolArgument {
    fn ask(&self, json: bool) -> Ask<'_> {
        Ask {
            tenant: self.tenant.as_deref(),
            ..self.admin.ask(json)
        }
    }
}

/// Runs the command; the exit code is 0 if all went well.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Command::CompilePlugin { arguments } = arguments.command {
        // On this thread alone: it gives itself limits.
        return compiler_main(arguments);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let json = arguments.json;
    let done = runtime.block_on(async {
        match arguments.command {
            Command::Serve(argument) => {
                let draft = config::load(&argument.config)?;
                let config = draft.validate_with_paths(Shell::Gateway)?;
                let filter = EnvFilter::new(config.log_level());
                log(filter, json || config.log_format() == Format::Json);
                serve::serve(&argument.config, config).await
            }
            Command::Check(argument) => check::check(&argument.config, json).await,
            Command::Stats(argument) => argument.ask(json).stats().await,
            Command::Sessions(argument) => argument.ask(json).sessions().await,
            Command::Proxies(argument) => argument.ask(json).proxies().await,
            Command::Tenants(argument) => argument.ask(json).tenants().await,
            Command::HashPassword => hash::hash_password(),
            Command::CompilePlugin { .. } => Ok(()),
            Command::Envoy(argument) => envoy::envoy(&argument).await,
            Command::Demo => {
                log(EnvFilter::new("error"), false);
                crate::demo::run(json).await
            }
        }
    });
    // Tunnels that are still open after the last patience do not keep the process.
    runtime.shutdown_background();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&*error),
    }
}

fn failed(error: &(dyn std::error::Error + 'static)) -> ExitCode {
    let errors = match error.downcast_ref::<ConfigError>() {
        Some(errors) => errors.lines(),
        None => vec![error.to_string()],
    };
    for error in errors {
        // One line, whatever a library has to say.
        let line: Vec<&str> = error.lines().map(str::trim).collect();
        eprintln!("remora: {}", line.join(" "));
    }
    ExitCode::FAILURE
}

/// Logs to standard error what `RUST_LOG` says, or else `filter`.
fn log(filter: EnvFilter, json: bool) {
    let filter = EnvFilter::try_from_default_env().unwrap_or(filter);
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    if json {
        log.json().flatten_event(true).init();
    } else {
        log.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .init();
    }
}
