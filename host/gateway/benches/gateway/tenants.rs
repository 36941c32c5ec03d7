//! `remora serve` with a thousand tenants: the requests of all of them beside as many of one. `cargo bench --package remora
//! --bench gateway -- tenants`.

use std::fs;
use std::time::Duration;

use argon2::password_hash::PasswordHasher;
use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::far;
use crate::load::{self, HOSTS, REQUEST};
use crate::measure::median;
use crate::subject::{SUBJECTS_CORE, Subject, free_port, on};

const ROUNDS: usize = 7;
const TURN: Duration = Duration::from_secs(3);

/// One tenant asks for every host; every tenant asks for one.
pub const ONE: &str = "requests-of-one-tenant";
pub const ALL: &str = "requests-of-all-tenants";

const PASSWORD: &str = "s3cret";

/// A request of a tenant's user.
pub fn request(tenant: usize, host: usize) -> String {
    let user = STANDARD.encode(format!("user{tenant}:{PASSWORD}"));
    // The second one is for HAProxy.
    let line = format!("\r\nProxy-Authorization: Basic {user}\r\nTenant: {tenant}\r\n\r\n");
    load::to_host(host).replace("\r\n\r\n", &line)
}

pub fn compare() {
    rlimit::increase_nofile_limit(20_000).unwrap();
    assert!(REQUEST.ends_with("\r\n\r\n"));
    let dir = tempfile::tempdir().unwrap();
    let far = far::start();
    let tenants = dir.path().join("tenants.d");
    fs::create_dir(&tenants).unwrap();
    // Each is computed once, in the round that warms up: a cheap one keeps that short.
    let cheap = Params::new(64, 1, 1, None).unwrap();
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, cheap);
    let hash: PasswordHash = argon2.hash_password(PASSWORD.as_bytes()).unwrap();
    for i in 0..HOSTS {
        let text = format!(
            "[[user]]\nname = \"user{i}\"\npassword_hash = \"{hash}\"\n[sticky]\nttl = \"1h\"\n\
             [[proxy]]\nurl = \"http://127.0.0.1:{}\"\n",
            far.port
        );
        fs::write(tenants.join(format!("t{i}.toml")), text).unwrap();
    }
    let port = free_port();
    let config = dir.path().join("remora.toml");
    let text =
        format!("listen = \"127.0.0.1:{port}\"\ntenants = {tenants:?}\n[log]\nlevel = \"warn\"\n");
    fs::write(&config, text).unwrap();
    let mut command = on(SUBJECTS_CORE, env!("CARGO_BIN_EXE_remora"));
    command.arg("serve").arg("--config").arg(config);
    let subjects = [
        Subject::start("remora", port, command),
        Subject::haproxy_with(dir.path(), &backends(far.port)),
    ];
    let mut measured = [[(); 2]; 2].map(|kinds| kinds.map(|()| (vec![], vec![])));
    for round in 0..=ROUNDS {
        for (subject, measured) in subjects.iter().zip(&mut measured) {
            for (kind, (costs, rates)) in [ONE, ALL].iter().zip(measured) {
                let turn = subject.turn(kind, TURN);
                eprintln!(
                    "{}, {kind}, round {round} of {ROUNDS}: {:.1} µs, {:.0}/s",
                    subject.name, turn.cpu_us, turn.rate
                );
                // The first round warms up.
                if round > 0 {
                    costs.push(turn.cpu_us);
                    rates.push(turn.rate);
                }
            }
        }
    }
    println!(
        "\n| {HOSTS} tenants | requests of | CPU time each | by one's | each second | by one's |"
    );
    println!("|---|---|---|---|---|---|");
    for (subject, measured) in subjects.iter().zip(measured) {
        let [one, all] = measured.map(|(costs, rates)| (median(costs), median(rates)));
        for (who, (cost, rate)) in [("one", one), ("all", all)] {
            println!(
                "| {} | {who} | {cost:.1} µs | {:.2} | {rate:.0} | {:.2} |",
                subject.name,
                cost / one.0,
                rate / one.1
            );
        }
    }
}

/// As many backends as there are tenants, each with connections of its own to the same server. HAProxy asks for no
/// password and decides nothing.
fn backends(far: u16) -> String {
    let of = |i| format!("backend t{i}\n  server far 127.0.0.1:{far}\n");
    let all: String = (0..HOSTS).map(of).collect();
    format!("use_backend t%[req.hdr(tenant)]\n{all}")
}
