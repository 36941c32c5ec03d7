//! Files that are no plugin, or are one that nobody should compile.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use remora_host::{CodeCache, Compiler, PluginError, Runtime, RuntimeConfig};

use super::endless::endless;
use super::guest::Guest;
use super::neighbour::Neighbour;
use super::{alone, resident};

/// A runtime with little room, since each sets its address space aside.
fn runtime(cache: Option<CodeCache>) -> Result<Runtime, PluginError> {
    Runtime::new(RuntimeConfig {
        instances: 4,
        cache,
        ..RuntimeConfig::default()
    })
}

fn compiler(timeout: Duration, memory: u64) -> Compiler {
    Compiler {
        timeout,
        memory,
        ..Compiler::new(env!("CARGO_BIN_EXE_remora-compile"))
    }
}

/// Runs it next to a tenant that is to see nothing of it; what it takes it gives back.
fn beside_a_neighbour(f: impl FnOnce()) {
    let neighbour = Neighbour::new();
    let before = resident() >> 10;
    let seen = neighbour.during(f);
    let after = resident() >> 10;
    println!("the neighbour: {seen}; resident: {before} MiB before, {after} MiB after");
    assert!(
        after < before + 64,
        "{before} MiB before, {after} MiB after"
    );
}

#[test]
fn a_file_that_is_no_plugin_is_a_configuration_error() {
    let _alone = alone();
    let plugin = remora_artifacts::PLUGIN;
    let mut corrupt = plugin.to_vec();
    for byte in corrupt.iter_mut().skip(1_000).step_by(97) {
        *byte ^= 0x55;
    }
    let files: [(&str, Vec<u8>); 5] = [
        ("empty", Vec::new()),
        ("not WebAssembly", b"#!/bin/sh\necho hello\n".to_vec()),
        ("truncated", plugin[..plugin.len() / 3].to_vec()),
        ("corrupt", corrupt),
        ("a module", wat::parse_str("(module)").unwrap()),
    ];
    beside_a_neighbour(|| {
        let runtime = runtime(None).unwrap();
        for (what, bytes) in files {
            let error = runtime.load(&bytes).unwrap_err();
            assert!(matches!(error, PluginError::Compile(_)), "{what}: {error}");
            assert!(error.to_string().len() < 1_000, "{what}: {error}");
        }
    });
}

#[test]
fn a_component_of_another_world_is_a_configuration_error() {
    let _alone = alone();
    let wants_files = r#"(component (import "wasi:filesystem/types@0.2.0" (instance)))"#;
    let components = ["(component)", wants_files].map(|text| wat::parse_str(text).unwrap());
    beside_a_neighbour(|| {
        let runtime = runtime(None).unwrap();
        let [exports_nothing, wants_files] = components.map(|c| runtime.load(&c).unwrap_err());
        let world = matches!(exports_nothing, PluginError::World(_));
        assert!(world, "{exports_nothing}");
        let wanted = PluginError::Imports(vec!["wasi:filesystem/types@0.2.0".into()]);
        assert_eq!(wants_files, wanted);
    });
}

#[test]
fn a_component_of_200_mb_is_refused_before_it_is_read() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("huge.wasm");
    File::create(&path).unwrap().set_len(200 << 20).unwrap();
    beside_a_neighbour(|| {
        let error = runtime(None).unwrap().load_file(&path).unwrap_err();
        let expected = PluginError::TooLarge {
            size: 200 << 20,
            limit: RuntimeConfig::default().component_size,
        };
        assert_eq!(error, expected);
    });
}

#[test]
fn a_component_that_takes_long_to_compile_is_given_up() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let cache = CodeCache {
        directory: directory.path().join("code"),
        compiler: Some(compiler(Duration::from_secs(1), 1 << 30)),
    };
    let runtime = runtime(Some(cache)).unwrap();
    let component = endless();
    beside_a_neighbour(|| {
        let start = Instant::now();
        let error = runtime.load(&component).unwrap_err();
        let limit = Duration::from_secs(1);
        assert_eq!(error, PluginError::CompileTime { limit });
        println!(
            "{} bytes, given up after {:?}",
            component.len(),
            start.elapsed()
        );
        assert!(start.elapsed() < Duration::from_secs(20));
    });
}

/// How nice a child of this process is that runs this program.
fn niceness(program: &str) -> Option<i64> {
    let me = std::process::id().to_string();
    let processes = fs::read_dir("/proc").unwrap();
    processes.flatten().find_map(|process| {
        let stat = fs::read_to_string(process.path().join("stat")).ok()?;
        // The name may hold anything.
        let (name, rest) = stat.split_once('(')?.1.rsplit_once(") ")?;
        let mut fields = rest.split(' ').skip(1);
        let parent = fields.next()?;
        let nice = fields.nth(14)?.parse().ok()?;
        (name == program && parent == me).then_some(nice)
    })
}

#[test]
fn a_compiler_comes_after_requests_and_not_after_everything() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let cache = CodeCache {
        directory: directory.path().join("code"),
        compiler: Some(compiler(Duration::from_secs(2), 1 << 30)),
    };
    let runtime = runtime(Some(cache)).unwrap();
    let component = endless();
    std::thread::scope(|scope| {
        let compiling = scope.spawn(|| runtime.load(&component).unwrap_err());
        let mut seen = None;
        while !compiling.is_finished() {
            seen = niceness("remora-compile").or(seen);
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(seen, Some(10));
    });
}

#[test]
fn a_compiler_that_takes_too_much_memory_is_given_up() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let cache = CodeCache {
        directory: directory.path().join("code"),
        compiler: Some(compiler(Duration::from_secs(60), 32 << 20)),
    };
    let component = endless();
    beside_a_neighbour(|| {
        let error = runtime(Some(cache)).unwrap().load(&component).unwrap_err();
        assert!(error.to_string().contains("33554432 bytes"), "{error}");
    });
}

#[test]
fn what_was_compiled_once_is_found_again() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let cache = CodeCache {
        directory: directory.path().join("code"),
        compiler: Some(compiler(Duration::from_secs(60), 1 << 30)),
    };
    let component = Guest::default().component();
    runtime(Some(cache.clone()))
        .unwrap()
        .load(&component)
        .unwrap();
    // A compiler that cannot be run shows that none is needed.
    let without = CodeCache {
        compiler: Some(Compiler::new("/no/such/compiler")),
        ..cache
    };
    let runtime = runtime(Some(without)).unwrap();
    runtime.load(&component).unwrap();
    let other = Guest {
        acquire: "unreachable",
        ..Guest::default()
    };
    let error = runtime.load(&other.component()).unwrap_err();
    assert!(matches!(error, PluginError::Compiler(_)), "{error}");
}

#[test]
fn plugins_of_the_same_bytes_have_one_copy_of_the_code_while_one_is_in_use() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("remora-compile");
    symlink(env!("CARGO_BIN_EXE_remora-compile"), &program).unwrap();
    let code = directory.path().join("code");
    let cache = CodeCache {
        directory: code.clone(),
        compiler: Some(Compiler::new(&program)),
    };
    let runtime = runtime(Some(cache)).unwrap();
    let (one, other) = (directory.path().join("one"), directory.path().join("other"));
    for file in [&one, &other] {
        fs::write(file, Guest::default().component()).unwrap();
    }
    let first = runtime.load_file(&one).unwrap();
    // Without the compiler, and without its marks, there is only what is in use.
    fs::remove_file(&program).unwrap();
    fs::remove_dir_all(code.join("compiled")).unwrap();
    let second = runtime.load_file(&other).unwrap();
    drop(first);
    let third = runtime.load_file(&one).unwrap();
    drop((second, third));
    let error = runtime.load_file(&one).unwrap_err();
    assert!(matches!(error, PluginError::Compiler(_)), "{error}");
}

/// The one file of code in a cache.
fn code(directory: &Path) -> PathBuf {
    let versions = fs::read_dir(directory.join("wasmtime/modules")).unwrap();
    let files = versions.flat_map(|version| fs::read_dir(version.unwrap().path()).unwrap());
    let mut files = files.map(|file| file.unwrap().path());
    files.find(|file| file.extension().is_none()).unwrap()
}

#[test]
fn code_on_disk_that_has_changed_is_not_run_but_compiled_again() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let cache = CodeCache {
        directory: directory.path().join("code"),
        compiler: Some(compiler(Duration::from_secs(60), 1 << 30)),
    };
    let without = CodeCache {
        compiler: Some(Compiler::new("/no/such/compiler")),
        ..cache.clone()
    };
    let component = Guest::default().component();
    let load = |cache: &CodeCache| runtime(Some(cache.clone())).unwrap().load(&component);
    load(&cache).unwrap();
    let file = code(&cache.directory);
    let good = fs::read(&file).unwrap();
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        Some(bytes)
    };
    let (half, last) = (good.len() / 2, good.len() - 1);
    let cut = Some(good[..half].to_vec());
    for bad in [flipped(0), flipped(half), flipped(last), cut, None] {
        match &bad {
            Some(bytes) => fs::write(&file, bytes).unwrap(),
            None => fs::remove_file(&file).unwrap(),
        }
        let error = load(&without).unwrap_err();
        assert!(matches!(error, PluginError::Compiler(_)), "{error}");
        load(&cache).unwrap();
        load(&without).unwrap();
    }
}

#[test]
fn code_of_the_plugin_built_in_that_has_changed_is_not_run() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let cache = CodeCache {
        directory: directory.path().join("code"),
        compiler: Some(compiler(Duration::from_secs(60), 1 << 30)),
    };
    let builtin = || runtime(Some(cache.clone())).unwrap().builtin();
    builtin().unwrap();
    let file = code(&cache.directory);
    let mut bad = fs::read(&file).unwrap();
    let half = bad.len() / 2;
    bad[half] ^= 1;
    fs::write(&file, &bad).unwrap();
    builtin().unwrap();
    assert!(fs::read(&file).unwrap() != bad, "it was made anew");
    // Nothing can be kept: it is compiled all the same, and what has changed is not there to be run.
    fs::write(&file, &bad).unwrap();
    let making = cache.directory.join("making");
    fs::remove_dir_all(&making).unwrap();
    fs::write(&making, "in the way").unwrap();
    builtin().unwrap();
    assert!(fs::read(&file).ok() != Some(bad));
}

#[test]
fn the_compiler_says_what_is_wrong_with_a_component() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let cache = CodeCache {
        directory: directory.path().join("code"),
        compiler: Some(compiler(Duration::from_secs(60), 1 << 30)),
    };
    let error = runtime(Some(cache))
        .unwrap()
        .load(b"\0asm nonsense")
        .unwrap_err();
    assert!(
        matches!(&error, PluginError::Compile(reason) if !reason.is_empty()),
        "{error}"
    );
}

#[test]
fn a_cache_that_others_can_write_to_is_refused() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let open = directory.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
    for place in [open.clone(), open.join("below")] {
        let cache = CodeCache {
            directory: place,
            compiler: None,
        };
        let error = runtime(Some(cache)).unwrap_err();
        assert!(
            error.to_string().contains("can be written by others"),
            "{error}"
        );
    }
}
