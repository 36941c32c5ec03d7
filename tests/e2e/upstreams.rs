//! Every kind of upstream proxy.

use std::collections::HashSet;
use std::io::Write;
use std::net::TcpListener;
use std::thread;

use crate::exits::Kind;
use crate::parts::{Answer, until};
use crate::protocol::Raw;
use crate::world::{HOSTS, PASSWORD, World, sticky};

const EVERY: [Kind; 5] = [
    Kind::Tinyproxy,
    Kind::OpenTinyproxy,
    Kind::Squid,
    Kind::Socks5,
    Kind::Socks5h,
];

#[test]
fn every_kind_of_upstream_proxy_carries_plain_http_and_tunnels() {
    let world = World::of(&EVERY, "", &sticky("10m", ""), PASSWORD);
    let mut seen = HashSet::new();
    for host in &HOSTS[..5] {
        // In turn, so each host has another one; the first request binds, the others follow.
        let exit = world.exit(host);
        for url in [world.http(host, "/"), world.https(host, "/")] {
            for body in [&[][..], &["-d", "some=form"]] {
                let answer = Answer::read(world.curl(&url, body).output().unwrap());
                assert_eq!((answer.status, &answer.body), (200, &exit), "{answer:?}");
            }
        }
        seen.insert(exit);
    }
    assert_eq!(seen.len(), EVERY.len(), "{seen:?}");
    assert!(!world.log().contains("outcome=\"failure\""));
}

/// SMTP, SSH and their like: who is called speaks first.
#[test]
fn what_a_target_says_first_is_not_lost() {
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = target.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in target.incoming() {
            stream.unwrap().write_all(b"220 hello\r\n\r\n").unwrap();
        }
    });
    let world = World::of(&EVERY, "", &sticky("0s", ""), PASSWORD);
    for _ in 0..5 * EVERY.len() {
        let mut raw = Raw::to(&world);
        raw.say(&format!(
            "CONNECT 127.0.0.1:{port} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n"
        ));
        let (head, _) = raw.answer(0);
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert_eq!(raw.rest(), "220 hello\r\n\r\n");
    }
}

#[test]
fn wrong_credentials_are_told_of_every_kind_that_asks_for_some() {
    for kind in [Kind::Tinyproxy, Kind::Socks5, Kind::Socks5h] {
        let world = World::of(&[kind], "", &sticky("10m", ""), "wrong");
        let output = world
            .curl(&world.https(HOSTS[0], "/"), &[])
            .output()
            .unwrap();
        assert!(
            String::from_utf8_lossy(&output.stderr).contains("502"),
            "{output:?}"
        );
        // This tinyproxy says 401, which is a refused tunnel like any other.
        let outcome = match kind {
            Kind::Tinyproxy => "outcome=\"ambiguous\"",
            _ => "outcome=\"failure\"",
        };
        until("the attempt is logged", || world.log().contains(outcome));
        if kind != Kind::Tinyproxy {
            let answer = world.ask(&world.http(HOSTS[1], "/"));
            assert_eq!(
                answer.body,
                "remora: the upstream proxy does not accept remora's credentials"
            );
        }
    }
}

#[test]
fn a_certificate_that_does_not_hold_is_a_failure() {
    let world = World::of(&[Kind::Squid], "", &sticky("10m", ""), PASSWORD);
    let text = std::fs::read_to_string(world.config()).unwrap();
    // The certificate names addresses; by this name it is somebody else's.
    std::fs::write(world.config(), text.replace("@127.0.0.1:", "@localhost:")).unwrap();
    world.remora.signal("-HUP");
    until("it has been read", || world.log().contains("read again"));
    let answer = world.ask(&world.http(HOSTS[0], "/"));
    assert_eq!(answer.status, 502, "{answer:?}");
    assert!(
        answer
            .header("proxy-status")
            .starts_with("remora;error=tls_protocol_error")
    );
}

/// A provider that takes the session in the user name: squid writes down the names it sees.
#[test]
fn exits_behind_one_address_get_a_name_for_each_session() {
    let world = World::of(&[Kind::Squid], "", &sticky("10m", ""), PASSWORD);
    let text = std::fs::read_to_string(world.config()).unwrap();
    let (from, to) = (
        format!("{}:{PASSWORD}@", crate::world::USER),
        format!("customer-U-sessid-{{session}}-sesstime-{{ttl_minutes}}:{PASSWORD}@"),
    );
    std::fs::write(world.config(), text.replace(&from, &to) + "\nexits = 50\n").unwrap();
    world.remora.signal("-HUP");
    until("it has been read", || world.stats()["total"] == 50);
    for host in &HOSTS[..3] {
        for url in [
            world.http(host, "/"),
            world.https(host, "/"),
            world.http(host, "/x"),
        ] {
            assert_eq!(world.ask(&url).status, 200);
        }
    }
    let names = |host: &str| -> HashSet<String> {
        let log = world.exits[0].log();
        let of_host = log.lines().filter(|line| line.contains(host));
        of_host
            .filter_map(|line| Some(line.split_once(' ')?.0.to_owned()))
            .filter(|name| name != "-")
            .collect()
    };
    until("squid has logged the requests", || {
        HOSTS[..3].iter().all(|host| !names(host).is_empty())
    });
    let mut all = HashSet::new();
    for host in &HOSTS[..3] {
        let names = names(host);
        assert_eq!(names.len(), 1, "{host}: {names:?}");
        let name = names.into_iter().next().unwrap();
        assert!(
            name.starts_with("customer-u-sessid-") && name.ends_with("-sesstime-10"),
            "{name}"
        );
        all.insert(name);
    }
    assert_eq!(all.len(), 3);
}
