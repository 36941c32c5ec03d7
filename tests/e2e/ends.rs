//! A tunnel does not outlive its session: `sticky.tunnels`. The far side is a script that takes its time.

use std::thread;
use std::time::{Duration, Instant};

use remora_test_support::ports::free_port;

use crate::parts::until;
use crate::protocol::{Script, tunnel};
use crate::world::{World, sticky};

const TOKEN: &str = "an-admin-token";

/// An exit that opens tunnels, and answers each head with itself: one for `/slow/N` after N seconds.
fn far() -> Script {
    Script::start(|head| {
        if head.starts_with("CONNECT") {
            return Some(b"HTTP/1.1 200 OK\r\n\r\n".to_vec());
        }
        if let Some((_, slow)) = head.split_once("/slow/") {
            let seconds = slow.trim_end().parse().unwrap();
            thread::sleep(Duration::from_secs(seconds));
        }
        Some(head.as_bytes().to_vec())
    })
}

fn world(far: &Script, ttl: &str, tunnels: &str) -> World {
    let fields = format!("admin_token = \"{TOKEN}\"");
    let tables = format!("{}{}", sticky(ttl, tunnels), far.entry());
    World::with(&fields, 0, &tables, "")
}

const HELLO: &str = "hello\r\n\r\n";

#[test]
fn a_quiet_tunnel_is_closed_soon_after_its_session_has_ended() {
    let far = far();
    let world = world(&far, "3s", "");
    let mut raw = tunnel(&world);
    let began = Instant::now();
    for _ in 0..4 {
        raw.say(HELLO);
        assert_eq!(raw.answer(0).0, HELLO);
        thread::sleep(Duration::from_millis(500));
    }
    assert_eq!(raw.rest(), "");
    let lasted = began.elapsed();
    assert!(lasted >= Duration::from_secs(3), "{lasted:?}");
    assert!(lasted < Duration::from_secs(30), "{lasted:?}");
    until("it is logged", || world.log().contains("outcome="));
    assert!(world.log().contains("outcome=\"success\""));
}

/// What `requests.Session()` does: it asks again over the connection that it has kept, right after the end.
#[test]
fn a_tunnel_that_is_quiet_already_ends_with_its_session() {
    let far = far();
    let world = world(&far, "4s", "");
    let mut raw = tunnel(&world);
    let began = Instant::now();
    raw.say(HELLO);
    assert_eq!(raw.answer(0).0, HELLO);
    assert_eq!(raw.rest(), "");
    let lasted = began.elapsed();
    // Not a whole second later, as a look once a second would be.
    println!("closed after {lasted:?}");
    assert!(lasted >= Duration::from_millis(3_500), "{lasted:?}");
    assert!(lasted < Duration::from_secs(30), "{lasted:?}");
}

#[test]
fn a_tunnel_that_was_never_used_is_closed_too_and_charged_to_nobody() {
    let far = far();
    let world = world(&far, "1s", "");
    assert_eq!(tunnel(&world).rest(), "");
    until("it is logged", || world.log().contains("outcome="));
    assert!(world.log().contains("outcome=\"cancelled\""));
}

#[test]
fn a_request_under_way_survives_the_end_of_its_session() {
    let far = far();
    let world = world(&far, "2s", "");
    let mut raw = tunnel(&world);
    let slow = "GET /slow/6\r\n\r\n";
    raw.say(slow);
    assert_eq!(raw.answer(0).0, slow);
    assert_eq!(raw.rest(), "", "after the answer it is closed");
}

#[test]
fn a_tunnel_that_is_never_quiet_ends_with_the_grace() {
    let far = far();
    let world = world(&far, "1s", "tunnel_grace = \"2s\"");
    let mut raw = tunnel(&world);
    let began = Instant::now();
    raw.say("GET /slow/300\r\n\r\n");
    assert_eq!(raw.rest(), "");
    let lasted = began.elapsed();
    assert!(lasted >= Duration::from_secs(3), "{lasted:?}");
    assert!(lasted < Duration::from_secs(60), "{lasted:?}");
    until("it is logged", || world.log().contains("outcome="));
    // remora cut it, and not the far side.
    assert!(world.log().contains("outcome=\"cancelled\""));
}

#[test]
fn close_cuts_what_is_under_way() {
    let far = far();
    let world = world(&far, "2s", "tunnels = \"close\"\ntunnel_grace = \"10m\"");
    let mut raw = tunnel(&world);
    let began = Instant::now();
    raw.say("GET /slow/300\r\n\r\n");
    assert_eq!(raw.rest(), "");
    let lasted = began.elapsed();
    assert!(lasted < Duration::from_secs(40), "{lasted:?}");
}

/// A client that pauses in the middle of a download waits for nothing, and there is more for it.
#[test]
fn a_response_that_its_client_reads_slowly_gets_through() {
    const LENGTH: usize = 48 << 20;
    let plenty = Script::start(|head| {
        if head.starts_with("CONNECT") {
            return Some(b"HTTP/1.1 200 OK\r\n\r\n".to_vec());
        }
        Some(vec![b'x'; LENGTH])
    });
    let tables = format!("{}{}", sticky("2s", ""), plenty.entry());
    let world = World::with("", 0, &tables, "");
    let mut raw = tunnel(&world);
    raw.say(HELLO);
    thread::sleep(Duration::from_secs(6));
    assert_eq!(raw.rest().len(), LENGTH);
}

/// Its session has moved to the exit that it goes through.
#[test]
fn a_tunnel_that_failed_over_lasts() {
    for tunnels in ["tunnels = \"drain\"", "tunnels = \"close\""] {
        let dead = free_port();
        let far = far();
        let dead = format!("[[proxy]]\nurl = \"http://127.0.0.1:{dead}\"\n");
        let tables = format!("{}{dead}{}", sticky("10m", tunnels), far.entry());
        let world = World::with("", 0, &tables, "");
        let mut raw = tunnel(&world);
        for _ in 0..3 {
            raw.say(HELLO);
            assert_eq!(raw.answer(0).0, HELLO, "{tunnels}");
            thread::sleep(Duration::from_millis(1_500));
        }
    }
}

#[test]
fn keep_leaves_a_tunnel_to_its_two_sides() {
    let far = far();
    let world = world(&far, "1s", "tunnels = \"keep\"");
    let mut raw = tunnel(&world);
    for _ in 0..4 {
        raw.say(HELLO);
        assert_eq!(raw.answer(0).0, HELLO);
        thread::sleep(Duration::from_millis(1_500));
    }
}

#[test]
fn a_session_that_an_operator_ends_and_a_proxy_that_leaves_take_their_tunnels_with_them() {
    let far = far();
    let world = world(&far, "10m", "");
    let bearer = format!("authorization: bearer {TOKEN}");
    let delete = |path: &str| {
        let options = ["-X", "DELETE", "-H", &bearer];
        assert_eq!(world.operate(path, &options).0, 204, "{path}");
    };
    let mut raw = tunnel(&world);
    raw.say(HELLO);
    assert_eq!(raw.answer(0).0, HELLO);
    delete("/sessions/a.example");
    assert_eq!(raw.rest(), "");
    let mut raw = tunnel(&world);
    raw.say(HELLO);
    assert_eq!(raw.answer(0).0, HELLO);
    let proxies: Vec<serde_json::Value> = serde_json::from_str(&world.admin("/proxies").1).unwrap();
    delete(&format!("/proxies/{}", proxies[0]["id"].as_str().unwrap()));
    assert_eq!(raw.rest(), "");
}
