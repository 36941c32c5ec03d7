//! HTTP as odd peers speak it. The upstream proxy is a script here: no real one can be told to send what these do.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;

use crate::parts::{PATIENCE, until};
use crate::world::{World, sticky};

/// An upstream proxy that does what it is told with each of its connections.
pub struct Script {
    port: u16,
    connections: Arc<AtomicUsize>,
    /// The heads of the requests that it got.
    heads: Arc<Mutex<Vec<String>>>,
}

impl Script {
    /// `answer` gets the head of a request, and says what to write; `None`: nothing more, and the connection ends.
    pub fn start(answer: impl Fn(&str) -> Option<Vec<u8>> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (connections, heads) = (Arc::new(AtomicUsize::new(0)), Arc::default());
        let script = Self {
            port,
            connections: connections.clone(),
            heads: Arc::clone(&heads),
        };
        let answer = Arc::new(answer);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                connections.fetch_add(1, Ordering::SeqCst);
                let (answer, heads) = (answer.clone(), heads.clone());
                thread::spawn(move || {
                    while let Some(head) = head(&mut stream) {
                        let said = answer(&head);
                        heads.lock().push(head);
                        match said {
                            // The gateway may have gone away.
                            Some(bytes) => stream.write_all(&bytes).unwrap_or_default(),
                            None => return,
                        }
                    }
                });
            }
        });
        script
    }

    pub fn entry(&self) -> String {
        format!("[[proxy]]\nurl = \"http://127.0.0.1:{}\"\n", self.port)
    }

    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().clone()
    }
}

/// Reads up to an empty line.
fn head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return None,
        }
    }
    Some(String::from_utf8(head).unwrap())
}

fn world(scripts: &[&Script], tables: &str) -> World {
    let entries: String = scripts.iter().map(|script| script.entry()).collect();
    World::with("", 0, &format!("{}{entries}", sticky("10m", tables)), "")
}

/// A client that has its own idea of HTTP.
pub struct Raw(TcpStream);

impl Raw {
    pub fn to(world: &World) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", world.gateway)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(stream)
    }

    pub fn say(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).unwrap();
    }

    /// What comes until the connection ends.
    pub fn rest(mut self) -> String {
        let mut text = Vec::new();
        self.0.read_to_end(&mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    /// A head, and so many bytes of a body.
    pub fn answer(&mut self, length: usize) -> (String, String) {
        let head = head(&mut self.0).expect("a response");
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        (head, String::from_utf8(body).unwrap())
    }
}

fn ok(body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
}

const TARGET: &str = "http://a.example/";

#[test]
fn a_response_that_is_none_opens_no_breaker() {
    let many = |_: &str| {
        let headers: String = (0..200).map(|i| format!("X-{i}: y\r\n")).collect();
        Some(format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: 0\r\n\r\n").into_bytes())
    };
    let twice = |_: &str| {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n12";
        Some(head.as_bytes().to_vec())
    };
    let (many, twice) = (Script::start(many), Script::start(twice));
    let world = world(&[&many, &twice], "[breaker]\nopen_threshold = 1");
    let answer = world.ask(TARGET);
    assert_eq!(answer.status, 502, "{answer:?}");
    assert_eq!(
        answer.body,
        "remora: what came back through the upstream proxy is not an HTTP response"
    );
    assert!(!many.heads().is_empty() && !twice.heads().is_empty());
    let stats = world.stats();
    // No exit answered, so none did worse than another one.
    assert_eq!(
        (&stats["open"], &stats["active_sessions"]),
        (&0.into(), &1.into())
    );
    assert_eq!(world.log().matches("outcome=\"ambiguous\"").count(), 2);
}

#[test]
fn a_target_without_a_host_is_the_clients_mistake_and_no_proxys() {
    let refuses = Script::start(|_| Some(b"HTTP/1.1 502 No\r\nContent-Length: 0\r\n\r\n".to_vec()));
    let world = world(&[&refuses], "[breaker]\nopen_threshold = 1");
    for request in ["CONNECT :443", "GET http://:80/"] {
        let mut raw = Raw::to(&world);
        raw.say(&format!("{request} HTTP/1.1\r\nHost: a.example\r\n\r\n"));
        let (head, _) = raw.answer(0);
        assert!(head.starts_with("HTTP/1.1 400"), "{request}: {head}");
    }
    assert!(refuses.heads().is_empty());
    assert_eq!(world.stats()["open"], 0);
}

#[test]
fn what_belongs_to_the_connection_is_not_passed_on() {
    let script = Script::start(|_| Some(ok("ok")));
    let world = world(&[&script], "[client]\nsession_header = \"x-session-id\"");
    let mut raw = Raw::to(&world);
    raw.say(
        "GET http://a.example/ HTTP/1.1\r\nHost: other.example\r\nProxy-Authorization: Basic Y2xpZW50Og==\r\n\
         Connection: X-Hop, keep-alive\r\nX-Hop: 1\r\nProxy-Connection: keep-alive\r\nKeep-Alive: timeout=5\r\n\
         TE: trailers\r\nX-Session-Id: seven\r\nX-End-To-End: 1\r\n\r\n",
    );
    assert!(raw.answer(2).0.starts_with("HTTP/1.1 200"));
    let heads = script.heads();
    let head = heads[0].to_lowercase();
    let mut names: Vec<&str> = head
        .lines()
        .filter_map(|line| Some(line.split_once(": ")?.0))
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["host", "x-end-to-end"], "{head}");
    assert!(head.contains("host: a.example"), "{head}");
}

#[test]
fn a_connection_that_ends_before_the_response_is_a_502() {
    // The second one leaves unread what was sent: that is a reset.
    let hangs_up = Script::start(|_| None);
    let world = world(
        &[&hangs_up],
        "[retry]\nattempts = 0\n[breaker]\nopen_threshold = 3",
    );
    for request in [
        "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n",
        "POST http://b.example/ HTTP/1.1\r\nHost: b.example\r\nContent-Length: 4\r\n\r\nbody",
    ] {
        let mut raw = Raw::to(&world);
        raw.say(request);
        let (head, _) = raw.answer(0);
        assert!(head.starts_with("HTTP/1.1 502"), "{head}");
        assert!(head.contains("error=connection_terminated"), "{head}");
    }
    until("both are logged", || {
        world.log().matches("outcome=\"ambiguous\"").count() == 2
    });
    assert_eq!(hangs_up.heads().len(), 2);
}

#[test]
fn a_folded_header_is_passed_on_unfolded() {
    let folded = |_: &str| {
        let head = "HTTP/1.1 200 OK\r\nX-Folded: a\r\n b\r\nContent-Length: 2\r\n\r\nok";
        Some(head.as_bytes().to_vec())
    };
    let world = world(&[&Script::start(folded)], "");
    let answer = world.ask(TARGET);
    assert_eq!((answer.status, &*answer.body), (200, "ok"), "{answer:?}");
    assert!(!answer.headers.contains("\r\n b"), "{}", answer.headers);
}

#[test]
fn a_proxy_that_says_nothing_is_a_504() {
    let silent = Script::start(|_| {
        thread::sleep(PATIENCE);
        None
    });
    let world = world(
        &[&silent],
        "[timeouts]\nconnect = \"1s\"\nhead = \"1s\"\n[retry]\nattempts = 0",
    );
    let answer = world.ask(TARGET);
    assert_eq!(answer.status, 504, "{answer:?}");
    let status = answer.header("proxy-status");
    assert!(status.contains("http_response_timeout"), "{status}");
    let mut raw = Raw::to(&world);
    raw.say("CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n");
    let (head, _) = raw.answer(0);
    assert!(head.starts_with("HTTP/1.1 504"), "{head}");
    assert!(head.contains("connection_timeout"), "{head}");
    assert_eq!(world.log().matches("outcome=\"timed-out\"").count(), 2);
}

#[test]
fn a_target_that_no_proxy_reaches_in_time_is_charged_to_none() {
    let silent = || {
        Script::start(|_| {
            thread::sleep(PATIENCE);
            None
        })
    };
    let (a, b, c) = (silent(), silent(), silent());
    let world = world(
        &[&a, &b, &c],
        "[timeouts]\nconnect = \"1s\"\n[breaker]\nopen_threshold = 1",
    );
    let mut raw = Raw::to(&world);
    raw.say("CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n");
    let (head, _) = raw.answer(0);
    assert!(head.starts_with("HTTP/1.1 504"), "{head}");
    let log = world.log();
    assert_eq!(log.matches("outcome=\"timed-out\"").count(), 3, "{log}");
    assert_eq!(world.stats()["open"], 0, "{log}");
}

#[test]
fn a_body_that_stalls_is_given_up() {
    let stalling =
        Script::start(|_| Some(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf".into()));
    let world = world(&[&stalling], "[timeouts]\nidle = \"1s\"");
    let output = world.curl(TARGET, &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(18), "a partial file: {output:?}");
    assert!(world.log().contains("outcome=\"timed-out\""));
}

#[test]
fn responses_without_a_body_keep_both_connections() {
    let script = Script::start(|head| {
        Some(match head {
            _ if head.starts_with("HEAD") => {
                b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n".to_vec()
            }
            _ if head.contains("/204") => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
            _ if head.contains("/304") => {
                b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n".to_vec()
            }
            _ if head.contains("/trailers") => {
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-End: y\r\n\r\n".to_vec()
            }
            _ => ok("whole"),
        })
    });
    let world = world(&[&script], "");
    let mut raw = Raw::to(&world);
    for (request, status, length) in [
        ("HEAD http://a.example/", 200, 0),
        ("GET http://a.example/204", 204, 0),
        ("GET http://a.example/304", 304, 0),
        (
            "GET http://a.example/trailers",
            200,
            "2\r\nok\r\n0\r\n\r\n".len(),
        ),
        ("GET http://a.example/", 200, 5),
    ] {
        raw.say(&format!("{request} HTTP/1.1\r\nHost: a.example\r\n\r\n"));
        let (head, body) = raw.answer(length);
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status}")),
            "{request}: {head}"
        );
        assert!(length != 5 || body == "whole", "{body}");
    }
    assert_eq!(script.connections.load(Ordering::SeqCst), 1);
}

#[test]
fn a_client_of_http_1_0_gets_a_body_that_ends_with_the_connection() {
    let chunked = Script::start(|_| {
        Some(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n".to_vec())
    });
    let world = world(&[&chunked], "");
    let mut raw = Raw::to(&world);
    raw.say("GET http://a.example/ HTTP/1.0\r\n\r\n");
    let answer = raw.rest();
    assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
    assert!(!answer.to_lowercase().contains("chunked"), "{answer}");
    let head = &chunked.heads()[0];
    assert!(
        head.contains("HTTP/1.1") && head.contains("host: a.example"),
        "{head}"
    );
}

#[test]
fn a_request_has_one_length_on_its_way_out() {
    let script = Script::start(|_| Some(ok("ok")));
    let world = world(&[&script], "");
    let mut raw = Raw::to(&world);
    raw.say(
        "POST http://a.example/ HTTP/1.1\r\nHost: a.example\r\nContent-Length: 100\r\n\
         Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    );
    let (answer, _) = raw.answer(0);
    if answer.starts_with("HTTP/1.1 200") {
        let head = script.heads()[0].to_lowercase();
        assert!(!head.contains("content-length"), "{head}");
    } else {
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
    let mut raw = Raw::to(&world);
    raw.say("POST http://a.example/ HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n12");
    let (answer, _) = raw.answer(0);
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}

#[test]
fn a_client_that_waits_to_be_told_is_told_to_go_on() {
    let script = Script::start(|_| Some(ok("ok")));
    let world = world(&[&script], "");
    let mut raw = Raw::to(&world);
    raw.say("POST http://a.example/ HTTP/1.1\r\nHost: a.example\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    let (head, _) = raw.answer(0);
    assert!(head.starts_with("HTTP/1.1 100"), "{head}");
    raw.say("\r\n\r\n");
    let (head, body) = raw.answer(2);
    assert!(head.starts_with("HTTP/1.1 200") && body == "ok", "{head}");
    assert!(!script.heads()[0].to_lowercase().contains("expect"));
}

#[test]
fn a_request_with_a_body_never_goes_out_on_a_connection_that_may_be_closed() {
    // It closes after every response, and says nothing of it.
    let closes = Script::start(|head| {
        if head.contains("/second") {
            return None;
        }
        Some(ok("ok"))
    });
    let world = world(&[&closes], "[retry]\nattempts = 0");
    let mut raw = Raw::to(&world);
    for request in ["GET http://a.example/", "POST http://a.example/"] {
        raw.say(&format!(
            "{request} HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0\r\n\r\n"
        ));
        let (head, body) = raw.answer(2);
        assert!(
            head.starts_with("HTTP/1.1 200") && body == "ok",
            "{request}: {head}"
        );
    }
    raw.say(
        "POST http://a.example/ HTTP/1.1\r\nHost: a.example\r\nContent-Length: 4\r\n\r\n\r\n\r\n",
    );
    let (head, _) = raw.answer(2);
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert_eq!(closes.connections.load(Ordering::SeqCst), 3);
}

/// A tunnel through the gateway whose far side answers every line.
pub fn tunnel(world: &World) -> Raw {
    let mut raw = Raw::to(world);
    raw.say("CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n");
    let (head, _) = raw.answer(0);
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    raw
}

fn echo() -> Script {
    Script::start(|head| {
        if head.starts_with("CONNECT") {
            return Some(b"HTTP/1.1 200 OK\r\n\r\n".to_vec());
        }
        Some(head.as_bytes().to_vec())
    })
}

#[test]
fn a_probe_that_is_answered_closes_the_breaker_however_long_its_tunnel_lasts() {
    let dead = Arc::new(AtomicBool::new(true));
    let script = Script::start({
        let dead = dead.clone();
        move |head| match head.starts_with("CONNECT") {
            // No answer to CONNECT: only the proxy can have written it.
            true if dead.load(Ordering::SeqCst) => Some(b"SSH-2.0-dead\r\n\r\n".to_vec()),
            true => Some(b"HTTP/1.1 200 OK\r\n\r\n".to_vec()),
            false => Some(head.as_bytes().to_vec()),
        }
    });
    let world = world(
        &[&script],
        "[breaker]\nopen_threshold = 1\nhalf_open_after = \"4s\"\n",
    );
    let connect = |host: &str| {
        let mut raw = Raw::to(&world);
        raw.say(&format!(
            "CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n"
        ));
        let served = raw.answer(0).0.starts_with("HTTP/1.1 200");
        served.then_some(raw)
    };
    assert!(connect("a.example").is_none());
    dead.store(false, Ordering::SeqCst);
    let mut tunnel = None;
    until("a probe goes out", || {
        tunnel = connect("a.example");
        tunnel.is_some()
    });
    let mut tunnel = tunnel.unwrap();
    assert!(connect("b.example").is_none(), "the probe is not back");
    tunnel.say("hello\r\n\r\n");
    assert_eq!(tunnel.answer(0).0, "hello\r\n\r\n");
    // The tunnel is open, and would be for longer than a breaker waits for its probe.
    until("others are let in", || connect("b.example").is_some());
    tunnel.say("still here\r\n\r\n");
    assert_eq!(tunnel.answer(0).0, "still here\r\n\r\n");
    let log = world.log();
    assert_eq!(log.matches("change=\"closed\"").count(), 1, "{log}");
}

#[test]
fn a_session_moves_at_the_second_tunnel_that_carried_nothing_back() {
    let empty = Script::start(|head| {
        let opens = head.starts_with("CONNECT");
        opens.then(|| b"HTTP/1.1 200 OK\r\n\r\n".to_vec())
    });
    let world = world(&[&empty, &echo()], "[breaker]\nopen_threshold = 2");
    for count in 1..=2 {
        let mut raw = tunnel(&world);
        raw.say("hello\r\n\r\n");
        assert_eq!(raw.rest(), "");
        until("it is logged", || {
            world.log().matches("outcome=\"ambiguous\"").count() == count
        });
    }
    assert_eq!(empty.heads().len(), 4, "the first one moves nothing");
    let mut raw = tunnel(&world);
    raw.say("hello\r\n\r\n");
    assert_eq!(raw.answer(0).0, "hello\r\n\r\n");
    assert_eq!(world.stats()["open"], 0, "one target is one strike");
}

#[test]
fn a_tunnel_that_its_client_never_used_is_nobodys_fault() {
    let script = echo();
    let world = world(&[&script], "[breaker]\nopen_threshold = 1");
    drop(tunnel(&world));
    until("it is released", || world.log().contains("outcome="));
    let log = world.log();
    assert!(log.contains("outcome=\"cancelled\""), "{log}");
    assert_eq!(world.stats()["open"], 0);
}

#[test]
fn a_tunnel_outlives_the_signal_and_gives_its_lease_back_when_it_is_cut() {
    let script = echo();
    let mut world = World::with(
        "shutdown_after = \"2s\"",
        0,
        &format!("{}{}", sticky("10m", ""), script.entry()),
        "",
    );
    let mut raw = tunnel(&world);
    raw.say("hello\r\n\r\n");
    assert_eq!(raw.answer(0).0, "hello\r\n\r\n");
    world.remora.terminate();
    until("nobody else is let in", || {
        TcpStream::connect(("127.0.0.1", world.gateway)).is_err()
    });
    raw.say("still here\r\n\r\n");
    assert_eq!(raw.answer(0).0, "still here\r\n\r\n");
    assert_eq!(raw.rest(), "", "cut after `shutdown_after`");
    assert!(world.remora.wait().success());
    let log = world.log();
    assert!(log.contains("were ended"), "{log}");
    assert!(log.contains("outcome="), "the lease was given back: {log}");
}

#[test]
fn a_second_signal_ends_what_is_left_at_once() {
    let script = echo();
    let mut world = World::with(
        "shutdown_after = \"1h\"",
        0,
        &format!("{}{}", sticky("10m", ""), script.entry()),
        "",
    );
    let raw = tunnel(&world);
    world.remora.terminate();
    until("it is stopping", || world.log().contains("stopping"));
    thread::sleep(Duration::from_millis(200));
    world.remora.terminate();
    assert!(world.remora.wait().success());
    assert_eq!(raw.rest(), "");
    assert!(world.log().contains("outcome="), "the lease was given back");
}

#[test]
fn a_client_that_stops_reading_is_let_go() {
    let plenty = Script::start(|_| {
        let length = 64 << 20;
        let mut answer =
            format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").into_bytes();
        answer.resize(answer.len() + length, b'x');
        Some(answer)
    });
    let world = world(&[&plenty], "[timeouts]\nidle = \"1s\"");
    let mut raw = Raw::to(&world);
    raw.say("GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n");
    let (head, _) = raw.answer(0);
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    until("its request is given up", || {
        world.log().contains("outcome=")
    });
    assert!(
        world.log().contains("outcome=\"cancelled\""),
        "{}",
        world.log()
    );
    let gone = || world.admin("/metrics").1.contains("remora_connections 0");
    until("its connection is gone", gone);
}
