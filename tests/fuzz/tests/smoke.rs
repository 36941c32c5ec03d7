//! Every target over its corpus and over mutations of it, the same in every run.

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::panic)]

#[path = "../../hostile/guest.rs"]
mod guest;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::{env, fs};

use remora_fuzz::mutate::{Numbers, mutate};
use remora_fuzz::{TARGETS, Target};
use remora_host::trace::{Decider as _, Line, Native, replay};

fn corpus(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target.name)
}

fn inputs(target: &Target) -> Vec<Vec<u8>> {
    let corpus = corpus(target);
    let mut files: Vec<_> = fs::read_dir(&corpus)
        .unwrap_or_else(|error| panic!("{}: {error}", corpus.display()))
        .map(|file| file.unwrap().path())
        .collect();
    files.sort_unstable();
    assert!(!files.is_empty(), "{} is empty", corpus.display());
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// A failure leaves its input where it can be looked at, and taken into the corpus once it is mended.
fn try_out(target: &Target, input: &[u8]) {
    if catch_unwind(AssertUnwindSafe(|| (target.run)(input))).is_err() {
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}.failed", target.name));
        fs::write(&kept, input).unwrap();
        panic!("{}: the input is in {}", target.name, kept.display());
    }
}

fn smoke(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let inputs = inputs(target);
    for input in &inputs {
        try_out(target, input);
    }
    // FUZZ_SMOKE=100 for a hundred times as many.
    let times = env::var("FUZZ_SMOKE").map_or(1, |times| times.parse().unwrap());
    let mut numbers = Numbers::new(2_026);
    for _ in 0..target.mutations * times {
        try_out(target, &mutate(&inputs, target.words, &mut numbers));
    }
}

macro_rules! smoke {
    ($($name:ident)*) => {
        $(#[test] fn $name() { smoke(stringify!($name)); })*

        #[test]
        fn every_target_is_tried() {
            let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
        }
    };
}

smoke! {
    admin component configuration decisions envoy_configuration proxy_url redb_file redis_reply request_head session_key
    trace
}

/// Otherwise everything would be refused at the door, and nothing tried behind it.
#[test]
fn the_seeds_of_components_hold_one_that_is_a_plugin() {
    let component = TARGETS.iter().find(|target| target.name == "component");
    let path = corpus(component.unwrap()).join("plugin.wasm");
    let plugin = guest::Guest::default().component();
    if env::var_os("FUZZ_SEED").is_some() {
        fs::write(&path, &plugin).unwrap();
    }
    let stale = format!(
        "{} is stale: FUZZ_SEED=1 cargo test -p remora-fuzz",
        path.display()
    );
    assert!(fs::read(&path).ok() == Some(plugin.clone()), "{stale}");
    assert!(remora_host::Plugin::from_bytes(&plugin).is_ok());
}

/// Otherwise every record would be refused at its first line.
#[test]
fn the_seeds_of_records_replay() {
    let trace = TARGETS.iter().find(|target| target.name == "trace");
    if env::var_os("FUZZ_SEED").is_some() {
        for file in fs::read_dir(corpus(trace.unwrap())).unwrap() {
            decide_again(&file.unwrap().path());
        }
    }
    for record in inputs(trace.unwrap()) {
        let lines = record.iter().filter(|byte| **byte == b'\n').count();
        let replayed = replay(&*record, |seed| Ok(Native::new(seed)));
        assert_eq!(replayed.unwrap(), lines - 1);
    }
}

/// Writes the decisions of a record anew; its events stay.
fn decide_again(record: &Path) {
    let text = fs::read_to_string(record).unwrap();
    let (header, events) = text.split_once('\n').unwrap();
    let seed = serde_json::from_str::<serde_json::Value>(header).unwrap()["seed"].as_u64();
    let mut native = Native::new(seed.unwrap());
    let mut decided = format!("{header}\n");
    for line in events.lines() {
        let mut line: Line = serde_json::from_str(line).unwrap();
        line.decision = native.decide(line.now, &line.event);
        decided += &(serde_json::to_string(&line).unwrap() + "\n");
    }
    fs::write(record, decided).unwrap();
}

/// The runs would be worth little if no mutation were accepted, or none refused.
#[test]
fn mutations_are_the_same_in_every_run_and_differ_from_their_inputs() {
    let inputs = vec![b"listen = \"127.0.0.1:80\"".to_vec(), vec![]];
    let run = || -> Vec<_> {
        let mut numbers = Numbers::new(1);
        (0..100)
            .map(|_| mutate(&inputs, &["x"], &mut numbers))
            .collect()
    };
    assert_eq!(run(), run());
    assert!(run().iter().filter(|bytes| !inputs.contains(bytes)).count() > 80);
}
