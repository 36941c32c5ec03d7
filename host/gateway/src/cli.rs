//! The command line.

mod ask;
mod check;
mod envoy;
mod reload;
mod serve;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{LineStyle, Table};
use tracing_subscriber::EnvFilter;

use crate::config::{self, Format};
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
    Stats(AdminArgument),
    /// The live sessions of a running gateway.
    Sessions(AdminArgument),
    /// The pool of a running gateway, proxy by proxy.
    Proxies(AdminArgument),
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
            json,
        }
    }
}

/// What can go wrong on the command line.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Runs the command; the exit code is 0 if all went well.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
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
                let file = config::read(&argument.config)?;
                log(
                    file.log.level.as_deref().unwrap_or("info"),
                    json || file.log.format == Format::Json,
                )?;
                serve::serve(&argument.config, file).await
            }
            Command::Check(argument) => check::check(&argument.config, json).await,
            Command::Stats(argument) => argument.ask(json).stats().await,
            Command::Sessions(argument) => argument.ask(json).sessions().await,
            Command::Proxies(argument) => argument.ask(json).proxies().await,
            Command::Envoy(argument) => envoy::envoy(&argument).await,
            Command::Demo => {
                log("error", false)?;
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

fn failed(error: &dyn std::error::Error) -> ExitCode {
    // One line, whatever a library has to say.
    let lines = error.to_string();
    let line: Vec<&str> = lines.lines().map(str::trim).collect();
    eprintln!("remora: {}", line.join(" "));
    ExitCode::FAILURE
}

/// Logs to standard error, from `level` up unless `RUST_LOG` says otherwise.
fn log(level: &str, json: bool) -> Result<(), Failure> {
    let filter = match EnvFilter::try_from_default_env() {
        Ok(filter) => filter,
        Err(_) => EnvFilter::try_new(level).map_err(|_| {
            format!("`log.level` is `{level}`; accepted: error, warn, info, debug or trace, also for single parts as in `warn,remora::access=info`")
        })?,
    };
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    if json {
        log.json().flatten_event(true).init();
    } else {
        log.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .init();
    }
    Ok(())
}

/// An empty table in the style of all of remora's tables.
pub(crate) fn table<const COLUMNS: usize>(header: [&str; COLUMNS]) -> Table {
    let mut table = Table::new();
    // Lines above, below and under the header; none between the rows.
    table.load_style(UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()));
    table.set_header(header);
    table
}
