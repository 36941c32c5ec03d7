//! Envoy with remora's filter beside itself with none, with an empty one and with one in Lua: `make bench-envoy`.
//!
//! All of them have the listener and the cluster that `remora envoy` writes, and send every request to the address
//! in the steering header. Only who puts it there differs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use remora::config;
use remora::envoy::Plan;
use serde_json::{Value, json};

use crate::far;
use crate::measure::median;
use crate::subject::{SUBJECTS_CORE, Subject, free_port, on};

const ROUNDS: usize = 7;
const TURN: Duration = Duration::from_secs(2);

/// After how many domains its memory is looked at.
const STEP: usize = 100_000;

/// The header that the load balancing policy reads.
const STEERING: &str = "x-remora-upstream";

/// Picks by key from a table, as remora does on a hit.
const LUA: &str = r#"
local sessions, ttl = {}, 600000
function envoy_on_request(handle)
  local headers = handle:headers()
  local key = string.gsub(string.lower(headers:get(":authority")), ":%d+$", "")
  local now = handle:timestamp()
  local session = sessions[key]
  if session == nil or session.expires < now then
    session = {address = "ADDRESS", expires = now + ttl}
    sessions[key] = session
  end
  headers:replace("x-remora-upstream", session.address)
end
"#;

/// The same with a look at how it went: without one, a proxy that fails keeps its sessions.
const LUA_WITH_OUTCOME: &str = r#"
local failures = 0
function envoy_on_response(handle)
  local status = tonumber(handle:headers():get(":status"))
  if status == 502 or status == 503 or status == 504 then
    failures = failures + 1
  else
    failures = 0
  end
end
"#;

/// The least that a filter with remora's two callbacks for each request can be.
const FLOOR: &str = r#"(module
  (memory (export "memory") 1)
  (func (export "malloc") (param i32) (result i32) i32.const 1024)
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_vm_start") (param i32 i32) (result i32) i32.const 1)
  (func (export "proxy_on_configure") (param i32 i32) (result i32) i32.const 1)
  (func (export "proxy_on_context_create") (param i32 i32))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) i32.const 0)
  (func (export "proxy_on_log") (param i32)))"#;

/// What stands in the filter's place.
enum Filter {
    None,
    Wasm(PathBuf),
    Lua(String),
    Remora,
}

/// `kept`: with connections to the upstream proxy that are kept, which `remora envoy` does not write: they make the
/// rest of a request as cheap as it gets.
pub fn compare(kept: bool) {
    let dir = tempfile::tempdir().unwrap();
    let far = far::start();
    let floor = dir.path().join("floor.wasm");
    fs::write(&floor, wat::parse_str(FLOOR).unwrap()).unwrap();
    let lua = LUA.replace("ADDRESS", &format!("127.0.0.1:{}", far.port));
    let subjects: Vec<Subject> = [
        ("no filter", Filter::None),
        ("two empty callbacks", Filter::Wasm(floor)),
        ("an empty Rust filter", Filter::Wasm(empty_filter())),
        ("Lua", Filter::Lua(lua.clone())),
        (
            "Lua that sees outcomes",
            Filter::Lua(lua + LUA_WITH_OUTCOME),
        ),
        ("remora", Filter::Remora),
    ]
    .into_iter()
    .map(|(name, filter)| subject(name, filter, kept, dir.path(), far.port))
    .collect();
    let mut turns = vec![Vec::new(); subjects.len()];
    for round in 0..=ROUNDS {
        for (subject, turns) in subjects.iter().zip(&mut turns) {
            let turn = subject.turn("requests", TURN);
            // The first round warms up.
            if round > 0 {
                turns.push((turn.cpu_us, turn.rate));
            }
        }
    }
    let of = |i: usize, what: fn(&(f64, f64)) -> f64| median(turns[i].iter().map(what).collect());
    let (cost, rate) = (|i| of(i, |t| t.0), |i| of(i, |t| t.1));
    let (empty, lua) = (2, 3);
    println!(
        "\n| Envoy with | requests each second | by the empty filter's | by Lua's | CPU time a request |\n|---|---|---|---|---|"
    );
    for (i, subject) in subjects.iter().enumerate() {
        println!(
            "| {} | {:.0} | {:.3} | {:.3} | {:.1} µs |",
            subject.name,
            rate(i),
            rate(i) / rate(empty),
            rate(i) / rate(lua),
            cost(i),
        );
    }
}

fn subject(name: &str, filter: Filter, kept: bool, dir: &Path, far: u16) -> Subject {
    let (port, tables) = (free_port(), "[sticky]\nmode = \"domain\"\n");
    let mut bootstrap = bootstrap(port, tables, far, dir);
    if kept {
        let protocol = &mut bootstrap["static_resources"]["clusters"][0]["typed_extension_protocol_options"]
            ["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"];
        protocol["common_http_protocol_options"].take();
    }
    let manager = &mut bootstrap["static_resources"]["listeners"][0]["filter_chains"][0]["filters"]
        [0]["typed_config"];
    let address = format!("127.0.0.1:{far}");
    let in_header = json!([{"header": {"key": STEERING, "value": address}}]);
    match filter {
        Filter::Remora => {}
        Filter::Wasm(module) => {
            let wasm = &mut manager["http_filters"][0]["typed_config"]["config"];
            wasm["vm_config"]["code"]["local"]["filename"] = module.display().to_string().into();
            manager["route_config"]["request_headers_to_add"] = in_header;
        }
        Filter::Lua(script) => {
            manager["http_filters"][0] = json!({
                "name": "envoy.filters.http.lua",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
                    "default_source_code": {"inline_string": script},
                },
            });
        }
        Filter::None => {
            manager["http_filters"].as_array_mut().unwrap().remove(0);
            manager["route_config"]["request_headers_to_add"] = in_header;
        }
    }
    start(name, port, &bootstrap, dir)
}

/// What `remora envoy` prints for this pool: one proxy under ten addresses.
pub fn bootstrap(port: u16, tables: &str, far: u16, dir: &Path) -> Value {
    let mut text = format!("listen = \"127.0.0.1:{port}\"\n{tables}\n");
    for last in 1..=10 {
        text += &format!("[[proxy]]\nurl = \"http://127.0.0.{last}:{far}\"\n");
    }
    let path = dir.join(format!("remora-{port}.toml"));
    fs::write(&path, text).unwrap();
    let draft = config::load(&path).unwrap();
    let config = draft.validate(config::Shell::Envoy).unwrap();
    let plan = Plan::new(&config).unwrap();
    let wasm = dir.join("remora_envoy.wasm");
    fs::write(&wasm, plan.module()).unwrap();
    plan.bootstrap(&wasm).unwrap()
}

/// An Envoy with one worker.
pub fn start(name: &str, port: u16, bootstrap: &Value, dir: &Path) -> Subject {
    let path = dir.join(format!("envoy-{port}.json"));
    fs::write(&path, bootstrap.to_string()).unwrap();
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/envoy/envoy");
    let mut command = on(SUBJECTS_CORE, program);
    command.arg("-c").arg(path);
    command.args(["--concurrency", "1", "--disable-hot-restart", "-l", "error"]);
    Subject::start(name, port, command)
}

/// The filter that does nothing, with every callback that the SDK exports.
fn empty_filter() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = "wasm32-unknown-unknown";
    let built = Command::new(env!("CARGO"))
        .current_dir(&root)
        .args(["build", "--quiet", "--locked", "--package", "remora-envoy"])
        .args(["--features", "empty", "--profile", "guest"])
        .args(["--target", target, "--target-dir", "target/guest-empty"])
        .status()
        .unwrap();
    assert!(built.success(), "the empty filter does not build");
    root.join("target/guest-empty")
        .join(target)
        .join("guest/remora_envoy.wasm")
}

/// Resident memory of an Envoy that sees a million domains, each once.
pub fn domains() {
    let dir = tempfile::tempdir().unwrap();
    let far = far::start();
    let envoy = subject("remora", Filter::Remora, true, dir.path(), far.port);
    println!("\n| domains seen | resident memory |\n|---|---|");
    for step in 0..=10 {
        if step > 0 {
            envoy.domains((step - 1) * STEP, STEP);
        }
        println!(
            "| {} | {:.1} MB |",
            step * STEP,
            envoy.resident() as f64 / 1e6
        );
    }
}
