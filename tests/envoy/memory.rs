//! What is in the memory of a worker's VM, as the kernel shows it.
//!
//! Envoy itself holds the passwords, in the metadata of its endpoints. So the search is for the linear memories of the
//! filter's VMs: V8 reserves gigabytes of addresses behind each, and what this filter was told stands in it.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::egress::Egress;
use crate::world::{HOSTS, PASSWORD, USER, sticky};

/// A word that only this filter's configuration has.
const CANARY: &str = "x-canary-of-the-memory-test";

/// What V8 reserves at least behind a linear memory.
const RESERVED: u64 = 2 << 30;

/// A line of `/proc/PID/maps`.
struct Mapping {
    start: u64,
    end: u64,
    rights: String,
}

fn mappings(pid: u32) -> Vec<Mapping> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let parse = |line: &str| {
        let mut fields = line.split_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        Some(Mapping {
            start: u64::from_str_radix(start, 16).ok()?,
            end: u64::from_str_radix(end, 16).ok()?,
            rights: fields.next()?.to_owned(),
        })
    };
    maps.lines().filter_map(parse).collect()
}

fn holds(mut bytes: &[u8], text: &str) -> bool {
    // By the first byte: there is much to search.
    while let Some(at) = bytes.iter().position(|byte| *byte == text.as_bytes()[0]) {
        bytes = &bytes[at..];
        if bytes.starts_with(text.as_bytes()) {
            return true;
        }
        bytes = &bytes[1..];
    }
    false
}

#[test]
fn no_memory_of_a_vm_holds_a_password() {
    let tables = format!(
        "[client]\nsession_header = \"{CANARY}\"\n{}",
        sticky("10m", "")
    );
    let mut egress = Egress::new(2, &tables);
    let bound = egress.exit(HOSTS[0]);
    egress.exit_of(&bound).kill();
    for host in HOSTS {
        egress.exit(host);
    }
    // What all of the passwords begin with, in the clear and as `Proxy-Authorization` has it.
    let plain = format!("{PASSWORD}-");
    let coded = STANDARD.encode(format!("{USER}:{plain}"));
    let secrets = [&*plain, coded.get(..32).unwrap()];
    let pid = egress.envoy.pid();
    let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    let all = mappings(pid);
    let (mut vms, mut outside) = (0, false);
    for (i, mapping) in all.iter().enumerate() {
        if !mapping.rights.starts_with("rw") {
            continue;
        }
        let mut bytes = vec![0; (mapping.end - mapping.start) as usize];
        if memory.read_exact_at(&mut bytes, mapping.start).is_err() {
            continue;
        }
        let found = secrets.iter().any(|secret| holds(&bytes, secret));
        let reserved = all.get(i + 1).is_some_and(|next| {
            next.start == mapping.end
                && next.rights.starts_with("---")
                && next.end - next.start >= RESERVED
        });
        if reserved && holds(&bytes, CANARY) {
            vms += 1;
            assert!(!found, "in the memory of a VM");
        } else {
            outside |= found;
        }
    }
    assert!(vms >= 2, "{vms} VMs for two workers");
    assert!(outside, "what is searched for would have been found");
}
