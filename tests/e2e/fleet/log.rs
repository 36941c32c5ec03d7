//! The log of a gateway, as the history that it tells.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::time::UNIX_EPOCH;

use remora_test_support::history::{Change, Grant, Heard, Release, Request};
use serde_json::Value;

use crate::exits::Exit;

/// The requests of one process whose clock was wrong by so many seconds. A proxy's number is its place among `exits`.
pub fn read(log: &Path, skew: i64, exits: &[Exit]) -> Vec<Request> {
    let text = fs::read_to_string(log).unwrap();
    let mut requests = Vec::new();
    let mut places: HashMap<(u64, u64), usize> = HashMap::new();
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
            places.insert((request, attempt), requests.len());
            requests.push(Request {
                key: line["host"].as_str().unwrap().to_owned(),
                asked: at,
                grant: None,
                refused: false,
                release: None,
            });
            continue;
        }
        let request = &mut requests[places[&(request, attempt)]];
        match line["message"].as_str() {
            Some("releases") => {
                let bad = matches!(line["outcome"].as_str(), Some("failure" | "blocked"));
                request.release = Some(Release {
                    said: at,
                    bad,
                    heard: None,
                });
            }
            Some("leased") => {
                line["key"].as_str().unwrap().clone_into(&mut request.key);
                request.grant = Some(grant(&line, at, exits));
            }
            Some("refused") => request.refused = true,
            Some("released") => {
                request.release.as_mut().unwrap().heard = Some(heard(&line, at));
            }
            Some("unanswered" | "unheard") => {}
            other => panic!("a line of the history that nobody reads: {other:?}"),
        }
    }
    requests
}

fn grant(line: &Value, at: u64, exits: &[Exit]) -> Grant {
    let (_, port) = line["proxy"].as_str().unwrap().rsplit_once(':').unwrap();
    let place = exits.iter().position(|exit| exit.port.to_string() == port);
    Grant {
        at,
        proxy: place.unwrap() as u64,
        generation: line["generation"].as_u64().unwrap(),
        hit: line["reason"] == "hit",
        probe: line["probe"] == true,
        expires_at: moment(&line["until"]) / 1_000,
    }
}

fn heard(line: &Value, at: u64) -> Heard {
    let change = match line["breaker"].as_str().unwrap() {
        "none" => Change::None,
        "opened" | "reopened" => Change::Opened,
        "closed" => Change::Closed,
        "probe-returned" => Change::Returned,
        other => panic!("a breaker that became {other}"),
    };
    Heard {
        at,
        ended: line["ended_session"] == true,
        change,
    }
}

/// In microseconds since the Unix epoch.
fn moment(text: &Value) -> u64 {
    let at = humantime::parse_rfc3339(text.as_str().unwrap()).unwrap();
    u64::try_from(at.duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap()
}
