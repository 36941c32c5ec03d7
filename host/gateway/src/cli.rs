//! The command line.

mod check;
mod serve;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{LineStyle, Table};
use tracing_subscriber::EnvFilter;

/// Sticky egress sessions: one exit IP per target for as long as a session lasts.
#[derive(Debug, Parser)]
#[command(name = "remora", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the forward proxy.
    Serve {
        /// The configuration file.
        #[arg(long, value_name = "FILE", default_value = "remora.toml")]
        config: PathBuf,
    },
    /// Say whether a configuration file is good, and what it means.
    Check {
        /// The configuration file.
        #[arg(long, value_name = "FILE", default_value = "remora.toml")]
        config: PathBuf,
    },
    /// Watch it work: upstream proxies, an origin and a client on loopback, inside this process.
    Demo,
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
    let done = runtime.block_on(async {
        match arguments.command {
            Command::Serve { config } => {
                log("info");
                serve::serve(&config).await
            }
            Command::Check { config } => check::check(&config).await,
            Command::Demo => {
                log("error");
                crate::demo::run().await
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
fn log(level: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
}

/// An empty table in the style of all of remora's tables.
pub(crate) fn table<const COLUMNS: usize>(header: [&str; COLUMNS]) -> Table {
    let mut table = Table::new();
    // Lines above, below and under the header; none between the rows.
    table.load_style(UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()));
    table.set_header(header);
    table
}
