//! What a member of the fleet did and was told, line by line, as it happened.

use serde::{Deserialize, Serialize};

/// A line. `id` tells a request of a member from its others; `at` is this machine's clock, in microseconds since the
/// Unix epoch, whatever the member's own clock says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Line {
    /// The member is ready.
    Ready,
    /// It asks for a proxy.
    Ask { id: u64, at: u64, key: String },
    /// It gets one.
    Granted {
        id: u64,
        at: u64,
        proxy: u64,
        generation: u64,
        hit: bool,
        probe: bool,
        /// In milliseconds since the Unix epoch.
        expires_at: u64,
    },
    /// It gets none, by a decision.
    Refused { id: u64, at: u64 },
    /// Nobody answers: what came of it is not known.
    Unanswered { id: u64, at: u64 },
    /// It says how the request went.
    Release {
        id: u64,
        at: u64,
        bad: bool,
        probe: bool,
    },
    /// It hears what that did.
    Released {
        id: u64,
        at: u64,
        ended: bool,
        change: Change,
    },
    /// Nobody answers that.
    Unheard { id: u64, at: u64 },
}

/// What became of a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    None,
    Opened,
    Closed,
    /// Its probe came back without a verdict.
    Returned,
}

/// A request, put together again.
#[derive(Clone, Debug)]
pub struct Request {
    pub key: String,
    pub asked: u64,
    pub grant: Option<Grant>,
    /// Refused by a decision; `false` without a grant: nobody knows.
    pub refused: bool,
    pub release: Option<Release>,
    /// The exits that it was sent through after that of its grant.
    pub fallbacks: Vec<Fallback>,
}

/// An attempt through another exit than that of the session.
#[derive(Clone, Debug)]
pub struct Fallback {
    pub at: u64,
    pub proxy: u64,
    pub bad: bool,
}

#[derive(Clone, Debug)]
pub struct Grant {
    pub at: u64,
    pub proxy: u64,
    pub generation: u64,
    pub hit: bool,
    pub probe: bool,
    pub expires_at: u64,
}

#[derive(Clone, Debug)]
pub struct Release {
    pub said: u64,
    pub bad: bool,
    /// `None`: not known.
    pub heard: Option<Heard>,
}

#[derive(Clone, Debug)]
pub struct Heard {
    pub at: u64,
    pub ended: bool,
    pub change: Change,
    /// Breakers of other proxies that changed with it.
    pub others: Vec<(u64, Change)>,
}

/// The requests of one run of a member.
pub fn requests(lines: &[Line]) -> Vec<Request> {
    let mut requests: Vec<Request> = Vec::new();
    let place = |id: u64| usize::try_from(id).unwrap();
    for line in lines.iter().cloned() {
        match line {
            Line::Ready => {}
            Line::Ask { id, at, key } => {
                assert_eq!(place(id), requests.len(), "requests are numbered in order");
                requests.push(Request {
                    key,
                    asked: at,
                    grant: None,
                    refused: false,
                    release: None,
                    fallbacks: Vec::new(),
                });
            }
            Line::Granted {
                id,
                at,
                proxy,
                generation,
                hit,
                probe,
                expires_at,
            } => {
                requests[place(id)].grant = Some(Grant {
                    at,
                    proxy,
                    generation,
                    hit,
                    probe,
                    expires_at,
                });
            }
            Line::Refused { id, .. } => requests[place(id)].refused = true,
            Line::Unanswered { .. } | Line::Unheard { .. } => {}
            Line::Release { id, at, bad, .. } => {
                requests[place(id)].release = Some(Release {
                    said: at,
                    bad,
                    heard: None,
                });
            }
            Line::Released {
                id,
                at,
                ended,
                change,
            } => {
                let release = requests[place(id)].release.as_mut().unwrap();
                release.heard = Some(Heard {
                    at,
                    ended,
                    change,
                    others: Vec::new(),
                });
            }
        }
    }
    requests
}
