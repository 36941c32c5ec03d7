//! Who asks.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::subject::{OTHERS_CORE, myself, read_head};

/// How many ask at a time.
const CLIENTS: usize = 32;

/// How many targets there are.
pub const HOSTS: usize = 1_000;

pub const REQUEST: &str = "GET http://host-0.example/ HTTP/1.1\r\nHost: host-0.example\r\n\
                           User-Agent: bench\r\nAccept: */*\r\n\r\n";

/// What one turn of a subject came to.
pub struct Turn {
    pub cpu_us: f64,
    pub rate: f64,
}

/// Runs load on the other core. Answers how much there was, and in how many seconds.
pub fn from_another_process(kind: &str, port: u16, length: Duration) -> (u64, f64) {
    let mut command = myself(OTHERS_CORE);
    let seconds = length.as_secs().to_string();
    let output = command
        .args([kind, &port.to_string(), &seconds])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    let (count, seconds) = said.trim().split_once(' ').unwrap();
    (count.parse().unwrap(), seconds.parse().unwrap())
}

/// A request for one of the hosts.
pub fn to_host(i: usize) -> String {
    REQUEST.replace("host-0", &format!("host-{i}"))
}

/// Requests on connections that are kept, one after the other.
pub fn requests(port: u16, seconds: u64, request: impl Fn(usize) -> String + Sync) {
    run(seconds, |client, done, until| {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        stream.set_nodelay(true).unwrap();
        let requests: Vec<String> = (0..HOSTS).map(&request).collect();
        for i in client.. {
            if Instant::now() > until {
                return;
            }
            stream.write_all(requests[i % HOSTS].as_bytes()).unwrap();
            read_response(&mut stream);
            done.fetch_add(1, Ordering::Relaxed);
        }
    });
}

/// One request for each of so many domains.
pub fn domains(port: u16, first: usize, count: usize) {
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            scope.spawn(move || {
                let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
                stream.set_nodelay(true).unwrap();
                for i in (first + client..first + count).step_by(CLIENTS) {
                    let request = REQUEST.replace("host-0", &format!("domain-{i}"));
                    stream.write_all(request.as_bytes()).unwrap();
                    read_response(&mut stream);
                }
            });
        }
    });
}

/// Tunnels with one request each.
pub fn tunnels(port: u16, seconds: u64) {
    run(seconds, |_, done, until| {
        while Instant::now() < until {
            let mut stream = open_tunnel(port);
            stream
                .write_all(b"GET / HTTP/1.1\r\nHost: inside\r\n\r\n")
                .unwrap();
            read_response(&mut stream);
            done.fetch_add(1, Ordering::Relaxed);
        }
    });
}

fn run(seconds: u64, client: impl Fn(usize, &AtomicU64, Instant) + Sync) {
    let done = AtomicU64::new(0);
    let begin = Instant::now();
    let until = begin + Duration::from_secs(seconds);
    thread::scope(|scope| {
        for i in 0..CLIENTS {
            let (client, done) = (&client, &done);
            scope.spawn(move || client(i * 31, done, until));
        }
    });
    println!(
        "{} {}",
        done.load(Ordering::Relaxed),
        begin.elapsed().as_secs_f64()
    );
}

pub fn open_tunnel(port: u16) -> TcpStream {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
        .write_all(b"CONNECT host-7.example:443 HTTP/1.1\r\nHost: host-7.example:443\r\n\r\n")
        .unwrap();
    let head = read_head(&mut stream);
    assert!(
        head.starts_with(b"HTTP/1.1 200"),
        "{:?}",
        String::from_utf8_lossy(&head)
    );
    stream
}

/// Reads a response of a known length.
pub fn read_response(stream: &mut TcpStream) {
    let head = read_head(stream);
    let text = String::from_utf8_lossy(&head).to_ascii_lowercase();
    assert!(text.starts_with("http/1.1 200"), "{text}");
    let (fields, body) = text.split_once("\r\n\r\n").unwrap();
    let length = fields
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.unwrap().trim().parse().unwrap();
    let mut rest = vec![0; length - body.len()];
    stream.read_exact(&mut rest).unwrap();
}
