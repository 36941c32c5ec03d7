//! Clients of the fleet, and what they see: the exit that the origin names.

use std::io::{Read, Write};
use std::net::{IpAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use remora_test_support::dice::Dice;
use remora_test_support::history::{Grant, Request};
use remora_test_support::micros;

use crate::world::{HOSTS, World};

/// Clients of each gateway.
const EACH: u64 = 4;
/// Sessions of each host.
const SESSIONS: u64 = 3;

/// An answer, and when it was asked for and there, in microseconds since the Unix epoch.
pub struct Seen {
    gateway: usize,
    key: String,
    from: u64,
    to: u64,
    exit: String,
}

pub struct Clients {
    stop: Arc<AtomicBool>,
    served: Vec<Arc<AtomicU64>>,
    threads: Vec<JoinHandle<Vec<Seen>>>,
}

impl Clients {
    /// Clients of the gateways on these ports.
    pub fn start(world: &World, gateways: &[u16]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut clients = Self {
            served: gateways.iter().map(|_| Arc::default()).collect(),
            stop,
            threads: Vec::new(),
        };
        for (gateway, port) in gateways.iter().enumerate() {
            for n in 0..EACH {
                let client = Client {
                    gateway,
                    port: *port,
                    origin: world.origin_port(),
                    dice: Dice::new((gateway as u64) << 8 | n),
                };
                let (stop, served) = (clients.stop.clone(), clients.served[gateway].clone());
                clients
                    .threads
                    .push(thread::spawn(move || client.run(&stop, &served)));
            }
        }
        clients
    }

    /// How many answers came through each gateway so far.
    pub fn served(&self) -> Vec<u64> {
        let served = self.served.iter();
        served.map(|served| served.load(Ordering::SeqCst)).collect()
    }

    pub fn finish(self) -> Vec<Seen> {
        self.stop.store(true, Ordering::SeqCst);
        let joined = self.threads.into_iter().map(|thread| thread.join());
        joined.flat_map(|seen| seen.unwrap()).collect()
    }
}

struct Client {
    gateway: usize,
    port: u16,
    origin: u16,
    dice: Dice,
}

impl Client {
    fn run(mut self, stop: &AtomicBool, served: &AtomicU64) -> Vec<Seen> {
        let mut all = Vec::new();
        while !stop.load(Ordering::SeqCst) {
            let host = HOSTS[self.dice.below(HOSTS.len() as u64) as usize];
            let session = self.dice.below(SESSIONS);
            let from = micros();
            if let Some(exit) = self.ask(host, session) {
                served.fetch_add(1, Ordering::SeqCst);
                all.push(Seen {
                    gateway: self.gateway,
                    key: format!("{host}#{session}"),
                    from,
                    to: micros(),
                    exit,
                });
            }
            thread::sleep(Duration::from_millis(5 + self.dice.below(20)));
        }
        all
    }

    /// The exit that the origin sees; `None` for an answer that does not say, or none at all.
    fn ask(&mut self, host: &str, session: u64) -> Option<String> {
        let user = STANDARD.encode(format!("u-session-{session}:x"));
        let origin = format!("{host}:{}", self.origin);
        let head = format!("HTTP/1.1\r\nHost: {origin}\r\nProxy-Authorization: Basic {user}\r\n");
        let get = |path: &str| format!("GET http://{origin}{path} {head}Connection: close\r\n\r\n");
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        let patience = Duration::from_secs(30);
        stream.set_read_timeout(Some(patience)).unwrap();
        match self.dice.below(20) {
            // Goes away before there is an answer.
            0 => {
                stream.write_all(get("/").as_bytes()).ok()?;
                thread::sleep(Duration::from_millis(self.dice.below(3)));
                None
            }
            // A page that refuses one of the exits.
            1 => answer(&mut stream, &get("/picky")),
            2..=6 => {
                let connect = format!("CONNECT {origin} {head}\r\n");
                stream.write_all(connect.as_bytes()).ok()?;
                let mut told = Vec::new();
                while !told.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).ok()?;
                    told.extend(byte);
                }
                let opened = told.starts_with(b"HTTP/1.1 200 ");
                let through =
                    format!("GET / HTTP/1.1\r\nHost: {origin}\r\nConnection: close\r\n\r\n");
                opened.then(|| answer(&mut stream, &through))?
            }
            _ => answer(&mut stream, &get("/")),
        }
    }
}

/// The line of a good answer that is an address.
fn answer(stream: &mut TcpStream, request: &str) -> Option<String> {
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8(answer).ok()?;
    let good = answer.starts_with("HTTP/1.1 200 ");
    let mut lines = answer.lines().filter(|_| good);
    lines
        .find(|line| line.parse::<IpAddr>().is_ok())
        .map(str::to_owned)
}

/// Answers for which the gateway's own history has no lease of that key and exit at that time, each lease counted once.
pub fn unexplained(mut seen: Vec<Seen>, told: &[Vec<Request>], exits: &[String]) -> Vec<String> {
    seen.sort_by_key(|seen| seen.to);
    let mut used: Vec<Vec<bool>> = told.iter().map(|told| vec![false; told.len()]).collect();
    let mut missing = Vec::new();
    for seen in &seen {
        let fits = |request: &Request| {
            let grant = request.grant.iter().map(|grant| (grant.at, grant.proxy));
            let fallbacks = request.fallbacks.iter().map(|f| (f.at, f.proxy));
            // The last attempt is the one that is answered.
            let last = grant.chain(fallbacks).last();
            request.key == seen.key
                && last.is_some_and(|(at, proxy)| {
                    exits[proxy as usize] == seen.exit && (seen.from..=seen.to).contains(&at)
                })
        };
        let told = told[seen.gateway].iter().zip(&mut used[seen.gateway]);
        match told.into_iter().find(|(told, used)| !**used && fits(told)) {
            Some((_, used)) => *used = true,
            None => missing.push(format!(
                "{} through gateway {} left by {} at {}, and the gateway says nothing of it",
                seen.key, seen.gateway, seen.exit, seen.from
            )),
        }
    }
    missing
}

#[test]
fn an_answer_that_no_gateway_explains_is_found() {
    let lease = |key: &str, at, proxy| Request {
        key: key.into(),
        asked: at,
        grant: Some(Grant {
            at,
            proxy,
            generation: 1,
            hit: false,
            probe: false,
            expires_at: 0,
        }),
        refused: false,
        release: None,
        fallbacks: Vec::new(),
    };
    let seen = |key: &str, from, exit: &str| Seen {
        gateway: 0,
        key: key.into(),
        from,
        to: from + 10,
        exit: exit.into(),
    };
    let told = [vec![lease("a", 5, 0), lease("a", 25, 1)]];
    let exits = ["x".to_owned(), "y".to_owned()];
    let missing = |all: Vec<Seen>| unexplained(all, &told, &exits).len();
    assert_eq!(missing(vec![seen("a", 0, "x"), seen("a", 20, "y")]), 0);
    assert_eq!(missing(vec![seen("a", 0, "y")]), 1, "another exit");
    assert_eq!(missing(vec![seen("b", 0, "x")]), 1, "another key");
    assert_eq!(missing(vec![seen("a", 10, "x")]), 1, "another time");
    let twice = vec![seen("a", 0, "x"), seen("a", 1, "x")];
    assert_eq!(missing(twice), 1, "one lease for two answers");
}
