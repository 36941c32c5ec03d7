//! Builds the examples, and compiles each once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime};

use remora_host::{CodeCache, Compiler, Limits, Plugin, PluginError, Runtime, RuntimeConfig};
use wit_component::ComponentEncoder;

/// Every plugin here gets by with what a plugin of a stranger gets, but for the share of a processor: the tests do
/// nothing but call it.
fn limits() -> Limits {
    Limits {
        processor_percent: None,
        ..Limits::untrusted()
    }
}

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    // Compiled as a stranger's would be, within the memory that is usual; JavaScript takes longer than is usual, and
    // longer still on processors that have other things to do.
    let compiler = Compiler {
        timeout: Duration::from_secs(900),
        ..Compiler::new(env!("CARGO_BIN_EXE_remora-compile"))
    };
    let cache = CodeCache {
        directory: Path::new(env!("CARGO_TARGET_TMPDIR")).join("code"),
        compiler: Some(compiler),
    };
    let config = RuntimeConfig {
        instances: 64,
        cache: Some(cache),
        ..RuntimeConfig::default()
    };
    Runtime::new(config).unwrap()
});

/// `guest/examples/steady`, in Rust.
pub static STEADY: LazyLock<Plugin> = LazyLock::new(|| {
    let target = root().join("target/examples");
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args([
            "build",
            "--release",
            "--locked",
            "--target",
            "wasm32-unknown-unknown",
        ])
        .arg("--manifest-path")
        .arg(root().join("guest/examples/steady/Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTFLAGS");
    run(&mut cargo);
    let module = fs::read(target.join("wasm32-unknown-unknown/release/steady.wasm")).unwrap();
    let mut encoder = ComponentEncoder::default();
    let encoder = encoder.validate(true).module(&module).unwrap();
    let component = encoder.encode().unwrap();
    compiled("steady", || RUNTIME.load(&component))
});

/// `guest/examples/hours`, in JavaScript.
pub static HOURS: LazyLock<Plugin> = LazyLock::new(|| {
    let example = root().join("guest/examples/hours");
    let component = root().join("target/hours.wasm");
    let (lock, packages) = (
        example.join("package-lock.json"),
        example.join("node_modules"),
    );
    if changed(&packages.join(".package-lock.json")) < changed(&lock) {
        run(npm(&example).args(["ci", "--no-audit", "--no-fund"]));
    }
    let sources = [example, root().join("wit")];
    let sources = sources
        .iter()
        .flat_map(|place| fs::read_dir(place).unwrap());
    let newest = sources.map(|file| changed(&file.unwrap().path())).max();
    if Some(changed(&component)) < newest {
        run(npm(&root().join("guest/examples/hours")).args(["run", "build"]));
    }
    compiled("hours", || RUNTIME.load_file(component))
});

/// Says how long it took, if it was not compiled already.
fn compiled(name: &str, load: impl FnOnce() -> Result<Plugin, PluginError>) -> Plugin {
    let start = Instant::now();
    let plugin = load().unwrap();
    println!("{name}: loaded in {:?}", start.elapsed());
    plugin.with_limits(limits())
}

fn npm(place: &Path) -> Command {
    let mut npm = Command::new("npm");
    npm.current_dir(place);
    npm
}

fn run(command: &mut Command) {
    let output = command.output();
    let output =
        output.unwrap_or_else(|error| panic!("{command:?}: {error} (`make parts` installs it)"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}

/// When a file was changed; long ago if it is not there.
fn changed(path: &Path) -> SystemTime {
    let changed = fs::metadata(path).and_then(|metadata| metadata.modified());
    changed.unwrap_or(SystemTime::UNIX_EPOCH)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
