//! Record and replay: the component and the core without WebAssembly decide the same, byte for byte.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use remora_host::session::StickyPolicy;
use remora_host::trace::{Component, Native, ReplayError, replay};
use remora_host::{
    BreakerConfig, ManualClock, OnBad, Outcome, Plugin, Proxy, ProxyConfig, ProxyHandle,
    ProxyManager, Request, Strategy as Rotation,
};

#[derive(Clone, Default)]
struct Record(Arc<Mutex<Vec<u8>>>);

impl Write for Record {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[derive(Clone, Debug)]
enum Step {
    Acquire {
        site: u8,
        session: Option<u8>,
        tagged: bool,
        ttl_ms: Option<u64>,
    },
    Release {
        which: usize,
        outcome: Outcome,
    },
    Wait(u64),
    Remove(usize),
    Add(usize),
    Health(usize, bool),
    Unbind(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let outcome = prop_oneof![
        4 => Just(Outcome::Success),
        3 => Just(Outcome::Failure),
        1 => Just(Outcome::Blocked),
        1 => Just(Outcome::Cancelled),
    ];
    prop_oneof![
        8 => (0..40u8, prop::option::weighted(0.2, 0..3u8), prop::bool::weighted(0.2), prop::option::weighted(0.2, 0..50_000u64))
            .prop_map(|(site, session, tagged, ttl_ms)| Step::Acquire { site, session, tagged, ttl_ms }),
        8 => (any::<usize>(), outcome).prop_map(|(which, outcome)| Step::Release { which, outcome }),
        3 => (0..20_000u64).prop_map(Step::Wait),
        1 => (0..4usize).prop_map(Step::Remove),
        1 => (0..4usize).prop_map(Step::Add),
        1 => (0..4usize, any::<bool>()).prop_map(|(i, on)| Step::Health(i, on)),
        1 => (0..40u8).prop_map(Step::Unbind),
    ]
}

fn proxy(i: usize) -> Proxy {
    Proxy {
        tags: if i == 0 { vec![] } else { vec!["de".into()] },
        weight: i as u32 + 1,
        ..Proxy::from_url(&format!("http://user:s3cret@192.0.2.{}:8080", i + 1)).unwrap()
    }
}

/// Does the steps on a manager that records, and answers with the record.
async fn record(steps: &[Step], rotation: Rotation, on_bad: OnBad) -> Vec<u8> {
    let config = ProxyConfig {
        sticky_policy: StickyPolicy::domain(Duration::from_secs(60)),
        sticky_idle: Some(Duration::from_secs(40)),
        sticky_max_requests: Some(9),
        sticky_on_bad: on_bad,
        max_sessions: 20,
        breaker: BreakerConfig {
            open_threshold: 2,
            growth: 2,
            ..BreakerConfig::default()
        },
        ..ProxyConfig::default()
    };
    let (out, clock) = (
        Record::default(),
        Arc::new(ManualClock::at(1_700_000_000_000)),
    );
    let builder = ProxyManager::builder().config(config).strategy(rotation);
    let mgr = builder
        .clock(clock.clone())
        .record(out.clone())
        .build()
        .unwrap();
    let ids = mgr.add_proxies((0..4).map(proxy).collect()).await.unwrap();
    let mut handles: Vec<ProxyHandle> = Vec::new();
    for step in steps {
        match step {
            Step::Acquire {
                site,
                session,
                tagged,
                ttl_ms,
            } => {
                let session = session.map(|s| format!("s{s}"));
                let request = Request {
                    target: &format!("site-{site}.example"),
                    session: session.as_deref(),
                    tags: if *tagged { &["de"] } else { &[] },
                    tried: &[],
                    ttl_ms: *ttl_ms,
                    is_repeatable: true,
                };
                handles.extend(mgr.acquire(&request).await);
            }
            Step::Release { which, outcome } if !handles.is_empty() => {
                let handle = handles.swap_remove(which % handles.len());
                handle.release(*outcome).await.unwrap();
            }
            Step::Release { .. } => {}
            Step::Wait(ms) => clock.advance(*ms),
            Step::Remove(i) => drop(mgr.remove_proxy(ids[*i]).await.unwrap()),
            Step::Add(i) => drop(mgr.add_proxy(proxy(*i)).await.unwrap()),
            Step::Health(i, on) => drop(mgr.set_health(ids[*i], *on).await.unwrap()),
            Step::Unbind(site) => {
                mgr.end_session(&format!("site-{site}.example"))
                    .await
                    .unwrap();
            }
        }
    }
    drop(handles);
    drop(mgr);
    std::mem::take(&mut *out.0.lock().unwrap())
}

#[test]
fn component_and_native_core_decide_the_same_byte_for_byte() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let plugin = Plugin::builtin().unwrap();
    let mut runner = TestRunner::new(Config {
        cases: 48,
        failure_persistence: None,
        ..Config::default()
    });
    let rotation = prop_oneof![
        Just(Rotation::RoundRobin),
        Just(Rotation::Random),
        Just(Rotation::Weighted),
        Just(Rotation::LeastUsed),
    ];
    let on_bad = prop_oneof![Just(OnBad::Rebind), Just(OnBad::Strict)];
    let input = (prop::collection::vec(step(), 1..300), rotation, on_bad);
    runner
        .run(&input, |(steps, rotation, on_bad)| {
            let record = runtime.block_on(record(&steps, rotation, on_bad));
            prop_assert!(!String::from_utf8_lossy(&record).contains("s3cret"));
            let lines = record.split(|b| *b == b'\n').count() - 2;
            let native = replay(&record[..], |seed| Ok(Native::new(seed)));
            prop_assert_eq!(
                native.map_err(|e| TestCaseError::fail(e.to_string()))?,
                lines
            );
            let component = replay(&record[..], |seed| Component::new(&plugin, seed));
            prop_assert_eq!(
                component.map_err(|e| TestCaseError::fail(e.to_string()))?,
                lines
            );
            Ok(())
        })
        .unwrap();
}

#[tokio::test]
async fn a_replay_says_which_line_differs() {
    let steps = [1, 2, 3].map(|site| Step::Acquire {
        site,
        session: None,
        tagged: false,
        ttl_ms: None,
    });
    let text =
        String::from_utf8(record(&steps, Rotation::RoundRobin, OnBad::Rebind).await).unwrap();
    let changed = text.replacen("\"bound\"", "\"hit\"", 1);
    assert_ne!(text, changed);
    let error = replay(changed.as_bytes(), |seed| Ok(Native::new(seed))).unwrap_err();
    assert!(
        matches!(error, ReplayError::Differs { line: 4, .. }),
        "{error}"
    );
    let error = replay(&b"{}\n"[..], |seed| Ok(Native::new(seed))).unwrap_err();
    assert!(
        matches!(error, ReplayError::Line { line: 1, .. }),
        "{error}"
    );
}
