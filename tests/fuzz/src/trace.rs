//! A record of decisions that somebody hands in with a bug report. It is refused with its line or replayed, and on the
//! same events the plugin decides as the core does that is compiled for this machine.

use std::sync::OnceLock;

use remora_host::Plugin;
use remora_host::trace::{Component, Decider, Event, Line, Native, ReplayError, replay};

use crate::Target;

pub(crate) const TARGET: Target = Target {
    name: "trace",
    run,
    mutations: 4_000,
    words: &[
        "{\"remora_trace\":1,\"seed\":1}\n",
        "18446744073709551615",
        "\"failure\"",
        "\"success\"",
        "\"blocked\"",
        "\"unbind\":\"",
        "\"purge-expired\":",
        "\"session\":\"a\"",
        "\"now\":0",
        "null",
        "-1",
    ],
};

fn plugin() -> &'static Plugin {
    static PLUGIN: OnceLock<Plugin> = OnceLock::new();
    PLUGIN.get_or_init(|| Plugin::builtin().expect("the plugin"))
}

fn run(data: &[u8]) {
    let replayed = replay(data, |seed| Ok(Native::new(seed)));
    if let Err(ReplayError::Plugin(error)) = &replayed {
        panic!("{error}");
    }
    let mut now = 0;
    let lines = data.split(|byte| *byte == b'\n');
    let lines = lines.filter_map(|line| serde_json::from_slice::<Line>(line).ok());
    // Time does not go back for a decider.
    let events: Vec<(u64, Event)> = lines
        .map(|line| {
            now = line.now.max(now);
            (now, line.event)
        })
        .collect();
    let mut native = Native::new(1);
    let mut component = Component::new(plugin(), 1).expect("an instance");
    for (now, event) in events {
        let (core, guest) = (native.decide(now, &event), component.decide(now, &event));
        assert_eq!(core, guest, "{event:?} at {now}");
    }
}
