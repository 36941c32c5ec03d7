//! A compiler in a process of its own: a component that takes minutes or gigabytes to compile costs its
//! owner an error.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, setrlimit};
use wasmtime::component::Component;
use wasmtime::{Config, Engine};

use remora_core::bounded;

use crate::code_cache::CodeCache;
use crate::error::PluginError;

/// The program that compiles components into a cache: one that calls [`compiler_main`] with the arguments it
/// is given after its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiler {
    /// The program.
    pub program: PathBuf,
    /// Its arguments, before those that are added here.
    pub args: Vec<OsString>,
    /// How long it may take, by the clock.
    pub timeout: Duration,
    /// How many bytes of memory it may take.
    pub memory: u64,
}

impl Compiler {
    /// A program that needs no arguments of its own, 30 seconds and 1 GiB.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            timeout: Duration::from_secs(30),
            memory: 1 << 30,
        }
    }

    /// Compiles one component into the cache in `directory`.
    pub(crate) fn run(&self, directory: &Path, bytes: &[u8]) -> Result<(), PluginError> {
        let failed = |error: std::io::Error| {
            PluginError::Compiler(format!("{}: {error}", self.program.display()))
        };
        let mut child = Command::new(&self.program)
            .args(&self.args)
            .arg(directory)
            .arg(self.timeout.as_secs().max(1).to_string())
            .arg(self.memory.to_string())
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let ended = thread::scope(|scope| {
            if let Some(mut input) = input {
                // A compiler that dies early does not read to the end; its status tells.
                scope.spawn(move || input.write_all(bytes).ok());
            }
            wait(&mut child, self.timeout)
        });
        let Some(status) = ended.map_err(failed)? else {
            return Err(PluginError::CompileTime {
                limit: self.timeout,
            });
        };
        if status.success() {
            return Ok(());
        }
        let mut reason = Vec::new();
        if let Some(output) = output {
            output
                .take(4_096)
                .read_to_end(&mut reason)
                .map_err(failed)?;
        }
        let reason = String::from_utf8_lossy(&reason);
        Err(PluginError::Compile(if reason.trim().is_empty() {
            format!(
                "the compiler gave up ({status}); it may take {} bytes of memory",
                self.memory
            )
        } else {
            bounded(reason.trim())
        }))
    }
}

/// `None`: it did not end in time, and was killed.
fn wait(child: &mut Child, timeout: Duration) -> std::io::Result<Option<std::process::ExitStatus>> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if start.elapsed() >= timeout {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// The other side of [`Compiler`]: compiles the component on the standard input into the cache in the
/// directory that the first argument names, within the seconds and the bytes that the second and third say.
/// What is wrong with the component is said on the standard output.
pub fn compiler_main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    match compile_limited(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let reason = match error {
                PluginError::Compile(reason) => reason,
                other => other.to_string(),
            };
            // Whoever does not listen gets the status.
            writeln!(std::io::stdout(), "{reason}").ok();
            ExitCode::FAILURE
        }
    }
}

fn compile_limited(args: &[OsString]) -> Result<(), PluginError> {
    let usage = || PluginError::Compiler("arguments: DIRECTORY SECONDS BYTES".into());
    let [directory, seconds, memory] = args else {
        return Err(usage());
    };
    let number = |arg: &OsString| arg.to_str().and_then(|arg| arg.parse::<u64>().ok());
    let seconds = number(seconds).ok_or_else(usage)?;
    let memory = number(memory).ok_or_else(usage)?;
    // Should the parent die before it can end this process, the system does.
    limit(Resource::Cpu, seconds.saturating_add(1))?;
    limit(Resource::Data, memory)?;
    // Requests go first. Where the system does not allow it, they share. Not at the end (19), where busy processors
    // would leave it so little that every component takes longer than it may.
    rustix::process::nice(10).ok();
    let mut bytes = Vec::new();
    std::io::stdin()
        .read_to_end(&mut bytes)
        .map_err(|error| PluginError::Compiler(error.to_string()))?;
    compile(Path::new(directory), &bytes)
}

/// Compiles a component into the cache in a directory, in this process.
pub(crate) fn compile(directory: &Path, bytes: &[u8]) -> Result<(), PluginError> {
    let cache = CodeCache {
        directory: directory.into(),
        compiler: None,
    };
    let mut settings = settings();
    settings
        .cache(Some(cache.open()?))
        .parallel_compilation(false);
    let engine =
        Engine::new(&settings).map_err(|error| PluginError::Runtime(format!("{error:#}")))?;
    Component::from_binary(&engine, bytes).map_err(|error| compile_error(&error))?;
    Ok(())
}

pub(crate) fn compile_error(error: &wasmtime::Error) -> PluginError {
    PluginError::Compile(bounded(&error.root_cause().to_string()))
}

fn limit(resource: Resource, most: u64) -> Result<(), PluginError> {
    let most = Some(most);
    setrlimit(
        resource,
        Rlimit {
            current: most,
            maximum: most,
        },
    )
    .map_err(|error| PluginError::Compiler(format!("{resource:?}: {error}")))
}

/// How components are compiled. The same in every process, or compiled code would not be found.
pub(crate) fn settings() -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_backtrace_max_frames(None)
        // Nobody looks at a plugin's stack: tables that only name places in it are a seventh of its code.
        .generate_address_map(false)
        .native_unwind_info(false);
    config
}
