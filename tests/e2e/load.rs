//! Much at a time.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::exits::Kind;
use crate::world::{HOSTS, PASSWORD, World, sticky};

/// What the gateway may grow by while it carries a gigabyte.
const SOME: u64 = 24 << 20;

fn megabytes(bytes: u64) -> u64 {
    bytes >> 20
}

#[test]
fn a_gigabyte_goes_each_way_in_flat_memory() {
    let world = World::of(&[Kind::OpenTinyproxy], "", &sticky("10m", ""), PASSWORD);
    world.exit(HOSTS[0]);
    let before = world.remora.memory();
    let large = format!("@{}", world.dir.path().join("large").display());
    for (what, url, options) in [
        ("down", world.http(HOSTS[0], "/large"), &[][..]),
        ("down in a tunnel", world.https(HOSTS[0], "/large"), &[]),
        ("up", world.http(HOSTS[0], "/swallow"), &["-T", &large[1..]]),
        (
            "up in a tunnel",
            world.https(HOSTS[0], "/swallow"),
            &["-T", &large[1..]],
        ),
    ] {
        let begin = Instant::now();
        let proxy = format!("http://127.0.0.1:{}", world.gateway);
        let mut curl = Command::new("curl")
            .args([
                "-sS",
                "-o",
                "/dev/null",
                "-w",
                "%{http_code} %{size_download} %{size_upload}",
            ])
            .args(["--max-time", "300", "-x", &proxy, "--cacert"])
            .arg(world.dir.path().join("cert.pem"))
            .args(options)
            .arg(&url)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut most = before;
        while curl.try_wait().unwrap().is_none() {
            most = most.max(world.remora.memory());
            std::thread::sleep(Duration::from_millis(20));
        }
        let said = curl.wait_with_output().unwrap().stdout;
        let said = String::from_utf8_lossy(&said).into_owned();
        let carried: u64 = said
            .split(' ')
            .skip(1)
            .map(|n| n.parse::<u64>().unwrap())
            .sum();
        assert!(
            said.starts_with("200 ") && carried >= 1 << 30,
            "{what}: {said}"
        );
        println!(
            "{what}: 1 GiB in {:.1?}, memory {} MB before and {} MB at most",
            begin.elapsed(),
            megabytes(before),
            megabytes(most)
        );
        assert!(
            most < before + SOME,
            "{what}: {before} bytes before, then {most}"
        );
    }
}

#[test]
fn ten_thousand_slow_connections_are_survived_and_others_are_served() {
    const SLOW: usize = 10_000;
    // By default there are as many as the system allows two files each for.
    const TABLES: &str = "[timeouts]\nclient = \"300s\"\n[limits]\nmax_connections = 12000";
    rlimit::increase_nofile_limit(SLOW as u64 + 1_000).unwrap();
    let world = World::new(2, &sticky("10m", TABLES));
    world.exit(HOSTS[0]);
    let before = world.remora.memory();
    let mut slow: Vec<TcpStream> = (0..SLOW)
        .map(|i| {
            let mut stream = TcpStream::connect(("127.0.0.1", world.gateway)).unwrap();
            match i % 3 {
                // Never says a word.
                0 => {}
                // Stops in the middle of a head.
                1 => stream
                    .write_all(b"GET http://slow.example/ HTTP/1.1\r\nHost: sl")
                    .unwrap(),
                // Is answered, and goes on to sit there.
                _ => stream
                    .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                    .unwrap(),
            }
            stream
        })
        .collect();
    for stream in slow.iter_mut().skip(2).step_by(3) {
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
        assert_eq!(&head, b"HTTP/1.1 400");
    }
    let held = world.remora.memory() - before;
    println!(
        "{} bytes for each of {SLOW} connections",
        held / SLOW as u64
    );
    assert!(
        held < SLOW as u64 * 32_768,
        "{held} bytes for {SLOW} connections"
    );
    for host in HOSTS {
        assert_eq!(world.ask(&world.http(host, "/")).status, 200);
        assert_eq!(world.ask(&world.https(host, "/")).status, 200);
    }
    let held = format!("remora_connections {SLOW}\n");
    crate::parts::until("they are all there, and nobody else", || {
        world.admin("/metrics").1.contains(&held)
    });
    drop(slow);
    crate::parts::until("they are gone", || {
        world.admin("/metrics").1.contains("remora_connections 0")
    });
    assert_eq!(world.ask(&world.http(HOSTS[0], "/")).status, 200);
}

#[test]
fn a_client_that_dawdles_over_its_head_is_let_go() {
    let world = World::new(1, &sticky("10m", "[timeouts]\nclient = \"1s\""));
    let mut stream = TcpStream::connect(("127.0.0.1", world.gateway)).unwrap();
    stream
        .write_all(b"GET http://slow.example/ HTTP/1.1\r\n")
        .unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let mut rest = Vec::new();
    // It ends before the client is tired of waiting.
    stream.read_to_end(&mut rest).unwrap();
    let rest = String::from_utf8_lossy(&rest).into_owned();
    assert!(
        rest.is_empty() || rest.starts_with("HTTP/1.1 408"),
        "{rest}"
    );
}

#[test]
fn a_head_beyond_the_limit_is_refused() {
    let world = World::new(1, &sticky("10m", "[limits]\nmax_header_bytes = 8192"));
    let header = format!("X-Long: {}", "x".repeat(10_000));
    let output = world
        .curl(&world.http(HOSTS[0], "/"), &["-H", &header])
        .output();
    let answer = crate::parts::Answer::read(output.unwrap());
    assert_eq!(answer.status, 431, "{answer:?}");
}

#[test]
fn more_connections_than_the_limit_wait_for_their_turn() {
    let world = World::new(1, &sticky("10m", "[limits]\nmax_connections = 2"));
    let hold: Vec<TcpStream> = (0..2)
        .map(|_| TcpStream::connect(("127.0.0.1", world.gateway)).unwrap())
        .collect();
    let mut curl = world.curl(&world.http(HOSTS[0], "/"), &[]);
    let mut waiting = curl.stdout(Stdio::piped()).spawn().unwrap();
    crate::parts::until("the limit is reached", || {
        world.log().contains("others wait")
    });
    assert!(waiting.try_wait().unwrap().is_none());
    drop(hold);
    let answer = crate::parts::Answer::read(waiting.wait_with_output().unwrap());
    assert_eq!(answer.status, 200, "{answer:?}");
}
