//! Histories with a planted violation each: the checker has to see it.

use super::*;
use crate::history::Release;

const SETTINGS: Settings = Settings {
    ttl: 10_000_000,
    half_open_after: 500_000,
};
/// A moment in microseconds.
const T: u64 = 1_800_000_000_000_000;

fn asked(at: u64, proxy: u64, generation: u64) -> Request {
    Request {
        key: "a".into(),
        asked: T + at,
        grant: Some(Grant {
            at: T + at + 10,
            proxy,
            generation,
            hit: false,
            probe: false,
            expires_at: (T + SETTINGS.ttl) / 1_000 + generation,
        }),
        refused: false,
        release: None,
        fallbacks: Vec::new(),
    }
}

fn released(mut request: Request, at: u64, bad: bool, ended: bool, change: Change) -> Request {
    request.release = Some(Release {
        said: T + at,
        bad,
        heard: Some(Heard {
            at: T + at + 10,
            ended,
            change,
            others: Vec::new(),
        }),
    });
    request
}

fn rules(requests: &[Request]) -> Vec<u8> {
    let (_, broken) = check(SETTINGS, requests);
    broken.iter().map(|broken| broken.rule).collect()
}

#[test]
fn a_good_history_is_good() {
    let failed = released(asked(0, 1, 1), 100, true, true, Change::None);
    assert_eq!(rules(&[failed, asked(50, 1, 1), asked(200, 2, 2)]), [0; 0]);
}

#[test]
fn a_split_session_is_seen() {
    assert_eq!(rules(&[asked(0, 1, 1), asked(0, 2, 1)]), [3]);
}

#[test]
fn a_session_that_moves_without_a_reason_is_seen() {
    assert_eq!(rules(&[asked(0, 1, 1), asked(100, 2, 2)]), [4]);
    // At the same moment nobody could know.
    assert_eq!(rules(&[asked(0, 1, 1), asked(5, 2, 2)]), [0; 0]);
}

#[test]
fn a_late_failure_that_kills_a_newer_session_is_seen() {
    let old = released(asked(0, 1, 1), 100, true, true, Change::None);
    let late = released(asked(1, 1, 1), 300, true, false, Change::None);
    let killed = [old, late, asked(200, 2, 2), asked(400, 3, 3)];
    assert_eq!(rules(&killed), [4]);
}

#[test]
fn a_session_that_comes_back_is_seen() {
    let ended = released(asked(0, 1, 1), 100, true, true, Change::None);
    assert_eq!(
        rules(&[ended.clone(), asked(200, 2, 2), asked(300, 1, 1)]),
        [4, 5]
    );
    let twice = released(asked(1, 1, 1), 120, true, true, Change::None);
    assert_eq!(rules(&[ended, twice]), [5]);
    let dead = asked(SETTINGS.ttl + SKEW + 2_000_000, 1, 1);
    assert_eq!(rules(&[dead]), [4]);
}

#[test]
fn when_sessions_end_does_not_order_them() {
    // A server that hung binds a second session long after it was asked to, when the first one has come and gone.
    let second = |at| {
        let mut second = asked(at, 2, 2);
        second.grant.as_mut().unwrap().expires_at -= 2_000;
        second
    };
    let ended = released(asked(0, 1, 1), 100, true, true, Change::None);
    assert_eq!(rules(&[ended.clone(), second(200), second(900)]), [0; 0]);
    // It stays like any other one.
    let moved = [ended, second(200), asked(900, 3, 3)];
    assert_eq!(rules(&moved), [4]);
    // Nothing has ended the first one.
    assert_eq!(rules(&[asked(0, 1, 1), second(200)]), [4]);
}

#[test]
fn a_second_probe_and_a_guest_behind_an_open_breaker_are_seen() {
    let probe = |key: &str, at| {
        let mut probe = asked(at, 1, at + 1);
        probe.key = key.into();
        probe.grant.as_mut().unwrap().probe = true;
        probe
    };
    assert_eq!(rules(&[probe("a", 0), probe("b", 100)]), [7]);
    assert_eq!(rules(&[probe("a", 0), probe("b", 700_000)]), [0; 0]);
    let mut opened = released(asked(0, 1, 1), 100, true, true, Change::Opened);
    opened.key = "b".into();
    assert_eq!(rules(&[opened.clone(), asked(200, 1, 2)]), [7]);
    assert_eq!(rules(&[opened, asked(50, 1, 2)]), [0; 0]);
}

#[test]
fn what_nobody_knows_excuses_what_it_may_have_done() {
    let mut unheard = released(asked(0, 1, 1), 100, true, true, Change::None);
    unheard.release.as_mut().unwrap().heard = None;
    assert_eq!(rules(&[unheard, asked(200, 2, 2)]), [0; 0]);
}
