//! The log of a gateway, as the history that it tells.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::time::UNIX_EPOCH;

use remora_test_support::history::{Change, Fallback, Grant, Heard, Release, Request};
use serde_json::Value;

use crate::exits::Exit;

/// The requests of one process whose clock was wrong by so many seconds. A proxy's number is its place among `exits`.
pub fn read(log: &Path, skew: i64, exits: &[Exit]) -> Vec<Request> {
    let text = fs::read_to_string(log).unwrap();
    let mut requests = Vec::new();
    // By the number of a request: its place among them, and the changes of breakers told before its release is.
    let mut places: HashMap<u64, usize> = HashMap::new();
    let mut changes: HashMap<u64, Vec<(u64, Change)>> = HashMap::new();
    let mut proxies: HashMap<String, u64> = HashMap::new();
    // The last line of a process that was killed may be half of one.
    for line in text.split_inclusive('\n').filter(|l| l.ends_with('\n')) {
        let line: Value = serde_json::from_str(line).unwrap();
        if line["target"] != "remora::history" {
            continue;
        }
        let number = |name: &str| line[name].as_u64().unwrap();
        let (request, attempt) = (number("request"), number("attempt"));
        let at = moment(&line["timestamp"])
            .checked_add_signed(-skew * 1_000_000)
            .unwrap();
        if line["message"] == "asks" {
            places.insert(request, requests.len());
            requests.push(Request {
                key: line["host"].as_str().unwrap().to_owned(),
                asked: at,
                grant: None,
                refused: false,
                release: None,
                fallbacks: Vec::new(),
            });
            continue;
        }
        let id = request;
        let request = &mut requests[places[&id]];
        match line["message"].as_str() {
            Some("releases") if attempt > 1 => {
                // The settlement tells of all attempts, in their order.
                request.fallbacks[attempt as usize - 2].bad = is_bad(&line);
            }
            Some("releases") => {
                request.release = Some(Release {
                    said: at,
                    bad: is_bad(&line),
                    heard: None,
                });
            }
            Some("leased") => {
                let proxy = place(&line, exits);
                proxies.insert(line["proxy_id"].as_str().unwrap().to_owned(), proxy);
                if attempt > 1 {
                    let bad = false;
                    request.fallbacks.push(Fallback { at, proxy, bad });
                } else {
                    line["key"].as_str().unwrap().clone_into(&mut request.key);
                    request.grant = Some(grant(&line, at, proxy));
                }
            }
            Some("changed") => {
                // This process has leased it, or has nothing to say of it.
                let proxy = proxies.get(line["proxy_id"].as_str().unwrap());
                let change = proxy.map(|proxy| (*proxy, change(&line)));
                changes.entry(id).or_default().extend(change);
            }
            Some("refused") => request.refused = true,
            Some("released") => {
                request.release.as_mut().unwrap().heard = Some(Heard {
                    at,
                    ended: line["ended_session"] == true,
                    change: change(&line),
                    others: changes.remove(&id).unwrap_or_default(),
                });
            }
            Some("unanswered" | "unheard" | "abandoned") => {}
            other => panic!("a line of the history that nobody reads: {other:?}"),
        }
    }
    requests
}

/// Whether it may end a session or open a breaker.
fn is_bad(line: &Value) -> bool {
    let outcome = line["outcome"].as_str().unwrap();
    matches!(outcome, "failure" | "blocked" | "ambiguous" | "timed-out")
}

fn place(line: &Value, exits: &[Exit]) -> u64 {
    let (_, port) = line["proxy"].as_str().unwrap().rsplit_once(':').unwrap();
    let place = exits.iter().position(|exit| exit.port.to_string() == port);
    place.unwrap() as u64
}

fn grant(line: &Value, at: u64, proxy: u64) -> Grant {
    Grant {
        at,
        proxy,
        generation: line["generation"].as_u64().unwrap(),
        hit: line["reason"] == "hit",
        probe: line["probe"] == true,
        expires_at: moment(&line["until"]) / 1_000,
    }
}

fn change(line: &Value) -> Change {
    match line["breaker"].as_str().unwrap() {
        "none" => Change::None,
        "opened" | "reopened" => Change::Opened,
        "closed" => Change::Closed,
        "probe-returned" => Change::Returned,
        other => panic!("a breaker that became {other}"),
    }
}

/// In microseconds since the Unix epoch.
fn moment(text: &Value) -> u64 {
    let at = humantime::parse_rfc3339(text.as_str().unwrap()).unwrap();
    u64::try_from(at.duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap()
}
