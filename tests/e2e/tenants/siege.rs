//! What hostile plugins cost the tenants next to them, as their clients see it. Times are printed, and held to a bound
//! that a busy machine keeps, too; `make bench-tenants` goes on for longer.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::client::{Client, Said};
use super::plugins::component;
use super::{directory, tenant, write};
use crate::cases::{At, CASES, Case};
use crate::guest::Guest;
use crate::parts::until;
use crate::world::{HOSTS, World, sticky};

/// How long each goes on, in seconds, where somebody wants to know better.
const SECONDS: &str = "REMORA_SIEGE_SECONDS";

/// Those that are tried where nobody does.
const SOME: [&str; 8] = [
    "a loop in acquire",
    "a loop in release",
    "a loop in configure",
    "a loop in the start function",
    "a trap in every call",
    "memory up to the limit, all of it written to",
    "a storm of compare-and-exchange",
    "imports without end",
];

/// How many clients the hostile tenant has, and how long each of them waits between two requests.
const CLIENTS: usize = 8;
const PAUSE: Duration = Duration::from_millis(5);

/// Who is left alone: one with the plugin built in, one with a plugin of its own.
const NEIGHBOURS: [&str; 2] = ["pia", "gus"];

/// How long requests took, sorted.
struct Times(Vec<Duration>);

impl Times {
    fn at(&self, part: f64) -> Duration {
        self.0[((self.0.len() - 1) as f64 * part) as usize]
    }
}

/// What went on for a while.
struct Seen {
    /// What the clients of the hostile tenants got, and how often.
    own: BTreeMap<String, usize>,
    /// The errors of those, word for word.
    errors: BTreeSet<String>,
    longest: Duration,
    neighbours: [Times; 2],
}

/// Who is attacked from, and what else happens meanwhile.
struct Attack<'a> {
    users: Vec<String>,
    /// Makes the plugin be made again.
    again: &'a (dyn Fn(u32) + Sync),
}

fn during(world: &World, length: Duration, attack: &Attack<'_>) -> Seen {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let over = &over;
        let neighbours = NEIGHBOURS.map(|user| {
            scope.spawn(move || {
                let mut client = Client::new(world, user, HOSTS[0]);
                let mut times = Vec::new();
                while !over.load(Ordering::Relaxed) || times.len() < 20 {
                    let Said { status, body, took } = client.ask();
                    assert_eq!(status, 200, "{user}: {body}");
                    times.push(took);
                    thread::sleep(Duration::from_millis(1));
                }
                times.sort_unstable();
                Times(times)
            })
        });
        let clients: Vec<_> = (0..CLIENTS)
            .filter(|_| !attack.users.is_empty())
            .map(|i| {
                let user = &attack.users[i % attack.users.len()];
                scope.spawn(move || {
                    let mut client = Client::new(world, user, HOSTS[i]);
                    let mut answers = Vec::new();
                    while !over.load(Ordering::Relaxed) || answers.is_empty() {
                        answers.push(client.ask());
                        thread::sleep(PAUSE);
                    }
                    answers
                })
            })
            .collect();
        let step = Duration::from_millis(250);
        for i in 0..u32::try_from(length.as_millis() / step.as_millis()).unwrap() {
            thread::sleep(step);
            (attack.again)(i);
        }
        over.store(true, Ordering::Relaxed);
        let (mut own, mut longest) = (BTreeMap::new(), Duration::ZERO);
        let mut errors = BTreeSet::new();
        for answer in clients.into_iter().flat_map(|c| c.join().unwrap()) {
            longest = longest.max(answer.took);
            let what = match answer.status {
                200 => "200".to_owned(),
                status => {
                    errors.insert(format!("{status} {}", answer.body));
                    format!("{status} {}", short(&answer.body))
                }
            };
            *own.entry(what).or_default() += 1;
        }
        Seen {
            own,
            errors,
            longest,
            neighbours: neighbours.map(|neighbour| neighbour.join().unwrap()),
        }
    })
}

/// An error without what differs from one to the next.
fn short(body: &str) -> String {
    let body = body.trim_start_matches("remora: ");
    let body = body.split(';').next().unwrap_or_default();
    body.chars()
        .filter(|c| !c.is_ascii_digit())
        .take(90)
        .collect()
}

fn row(name: &str, seen: &Seen, quiet: Option<&Seen>) {
    let own = seen
        .own
        .iter()
        .map(|(what, count)| format!("{count} × {what}"));
    let own: Vec<String> = own.collect();
    print!("| {name} | {} | {:.0?} |", own.join(", "), seen.longest);
    for (i, times) in seen.neighbours.iter().enumerate() {
        let (p50, p99) = (times.at(0.5), times.at(0.99));
        print!(" {p50:.2?} | {p99:.2?} |");
        if let Some(quiet) = quiet {
            let quiet = quiet.neighbours[i].at(0.99);
            print!(" {:.2} |", p99.as_secs_f64() / quiet.as_secs_f64());
        } else {
            print!(" 1 |");
        }
    }
    println!();
}

/// The text of a tenant whose plugin is this one.
fn hostile(dir: &Path, i: usize, guest: &Guest, limits: &str) -> String {
    let plugin = component(dir, &format!("plugin-{i}"), &guest.component());
    format!("{plugin}\n{}\n[limits]\n{limits}", sticky("10m", ""))
}

/// The hostile tenants: their number, and their case.
fn cases(all: bool) -> impl Iterator<Item = (usize, &'static Case)> {
    let cases = CASES.iter().enumerate();
    // What goes wrong in a list, clients do not see.
    let cases = cases.filter(|(_, case)| case.at != At::List);
    cases.filter(move |(_, case)| all || SOME.contains(&case.name))
}

#[test]
fn hostile_plugins_cost_their_own_tenants_and_nobody_else() {
    let seconds = std::env::var(SECONDS).ok();
    let all = seconds.is_some();
    let seconds = seconds.map_or(1.0, |seconds| seconds.parse().unwrap());
    let length = Duration::from_secs_f64(seconds);
    let cache = tempfile::tempdir().unwrap();
    let fields = format!("code_cache = {:?}", cache.path().join("code"));
    let world = directory(3, &fields, |place, exits| {
        let dir = place.parent().unwrap();
        for (i, case) in cases(all) {
            let text = hostile(dir, i, &case.guest, "");
            let name = format!("evil-{i}");
            write(place, &name, &tenant(&name, &exits[..1], &text));
        }
        let harmless = hostile(dir, 98, &Guest::default(), "");
        write(place, "evil-98", &tenant("evil-98", &exits[..1], &harmless));
        let looping = Guest {
            acquire: "(loop $l (br $l))",
            ..Guest::default()
        };
        let greedy = hostile(dir, 99, &looping, "processor_percent = 1000");
        write(place, "evil-99", &tenant("evil-99", &exits[..1], &greedy));
        let own = component(dir, "good", remora_artifacts::PLUGIN);
        let own = format!("{own}\n{}", sticky("10m", ""));
        write(place, "own", &tenant("gus", &exits[1..2], &own));
        write(
            place,
            "plain",
            &tenant("pia", &exits[2..], &sticky("10m", "")),
        );
    });
    until("every plugin was tried", || {
        world.admin("/healthz").1.contains("\"awaited_tenants\":0")
    });
    for user in NEIGHBOURS {
        world.exit_as(user, HOSTS[0]);
    }
    let nothing = |_| {};
    let attack = |users| Attack {
        users,
        again: &nothing,
    };
    let quiet = during(&world, length, &attack(vec![]));
    println!(
        "| plugin | what its own clients get | longest | p50, built in | p99 | by quiet | p50, own plugin | p99 | by quiet |\n|---|---|---|---|---|---|---|---|---|"
    );
    row("none", &quiet, None);
    let show = |name: &str, seen: &Seen| {
        row(name, seen, Some(&quiet));
        for (times, quiet) in seen.neighbours.iter().zip(&quiet.neighbours) {
            let most = (20 * quiet.at(0.99)).max(Duration::from_secs(1));
            assert!(times.at(0.99) < most, "{name}: {:?}", times.at(0.99));
        }
    };
    show(
        "a harmless one, asked as often",
        &during(&world, length, &attack(vec!["evil-98".into()])),
    );
    let place = world.place();
    let mut answered = false;
    for (i, case) in cases(all) {
        let name = format!("evil-{i}");
        let file = place.join(format!("{name}.toml"));
        let again = |step: u32| {
            // Another one each time, or it would not be tried again.
            if case.at == At::Build {
                let text = fs::read_to_string(&file).unwrap();
                write(
                    &place,
                    &name,
                    &format!("# {step}\n{text}").replace("10m", &format!("{}m", 10 + step)),
                );
            }
        };
        let seen = during(
            &world,
            length,
            &Attack {
                users: vec![name.clone()],
                again: &again,
            },
        );
        show(case.name, &seen);
        // Who has its answer does not hear of a release.
        let has_answers = seen.own.contains_key("200");
        let fails = matches!(case.at, At::Build | At::Acquire);
        assert!(!(fails && has_answers), "{}: {:?}", case.name, seen.own);
        answered |= has_answers;
        for error in &seen.errors {
            let own = match case.at {
                At::Build => error.contains("your tenant is not served"),
                _ => fails && error.contains(case.error),
            };
            // Any of them may have to wait for its turn, and longer than a call may where the machine is busy.
            let waits = ["of a processor", "ran longer than a call may"];
            let waits = waits.iter().any(|waits| error.contains(waits));
            let known = error.starts_with("503 ") && (own || waits);
            assert!(known, "{}: {error}", case.name);
        }
        if case.at == At::Release {
            assert!(world.tenant(&name)["plugin_traps"].as_u64().unwrap() > 0);
        }
    }
    assert!(
        answered,
        "a plugin that spoils its releases only has answers"
    );
    let everyone: Vec<String> = cases(all).map(|(i, _)| format!("evil-{i}")).collect();
    show(
        "all of them at once",
        &during(&world, length, &attack(everyone)),
    );
    show(
        "a loop in acquire that may take ten processors",
        &during(&world, length, &attack(vec!["evil-99".into()])),
    );
}
