//! The epoch: it ends calls that last too long, and lets other threads run meanwhile.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use wasmtime::{Engine, Store, Trap, UpdateDeadline};

use crate::imports::{Instantiated, Running};

/// How often the epoch moves: the grain of [`Limits::call_timeout`](crate::Limits::call_timeout).
const TICK: Duration = Duration::from_millis(10);

/// How often it moves while plugins run that may take as long as they can. A thread that wakes up where one of them runs
/// waits for the end of this; the kernel would leave it waiting for up to 4 ms (a tick of its own, at 250 Hz).
const TURN: Duration = Duration::from_micros(500);

/// How many turns it goes on after the last of them: calls come one after the other, and waking a thread costs more than
/// many of them.
const LINGER: u32 = 20;

/// Moves the epoch of an engine, from a thread that ends with the engine. Cheap to clone; clones are the same.
#[derive(Clone)]
pub(crate) struct Epoch {
    watched: Arc<AtomicUsize>,
    thread: Thread,
}

impl Epoch {
    pub(crate) fn start(engine: &Engine) -> io::Result<Self> {
        let engine = engine.weak();
        let watched = Arc::new(AtomicUsize::new(0));
        let calls = watched.clone();
        let ticking = thread::Builder::new()
            .name("remora-epoch".into())
            .spawn(move || {
                let mut turns = 0;
                while let Some(engine) = engine.upgrade() {
                    engine.increment_epoch();
                    drop(engine);
                    turns = turns_left(calls.load(Ordering::Acquire), turns);
                    if turns > 0 {
                        thread::sleep(TURN);
                    } else {
                        thread::park_timeout(TICK);
                    }
                }
            })?;
        let thread = ticking.thread().clone();
        Ok(Self { watched, thread })
    }

    /// Until the answer is dropped, plugins let other threads run every [`TURN`].
    pub(crate) fn watch(&self) -> Watched<'_> {
        if self.watched.fetch_add(1, Ordering::AcqRel) == 0 {
            self.thread.unpark();
        }
        Watched(self)
    }
}

/// How many turns are to come, where there were so many and these calls are watched.
fn turns_left(calls: usize, turns: u32) -> u32 {
    match calls {
        0 => turns.saturating_sub(1),
        _ => LINGER,
    }
}

/// A call that is watched.
pub(crate) struct Watched<'a>(&'a Epoch);

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.0.watched.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Lets others run where calls keep their thread.
pub(crate) fn yield_thread() -> UpdateDeadline {
    // Who waits for this processor is most likely a thread that passes bytes on.
    thread::yield_now();
    UpdateDeadline::Continue(1)
}

/// Lets others run where calls are tasks.
pub(crate) fn yield_task() -> UpdateDeadline {
    // wasmtime's own `Yield` wakes itself at once: a runtime of one thread would look at its timers and sockets at every
    // 61st turn only (tokio's `event_interval`). tokio's lets it look first.
    UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now()))
}

/// Ends calls that have used up their [`Allowance`](crate::imports::Allowance) of time; `others` lets others run.
pub(crate) fn limit<T: Instantiated>(store: &mut Store<T>, others: fn() -> UpdateDeadline) {
    store.epoch_deadline_callback(move |mut store| {
        match store.data_mut().allowance().look() {
            // A short call that a tick happened to meet, most likely.
            Running::Shortly => Ok(UpdateDeadline::Continue(1)),
            Running::Long => Ok(others()),
            Running::TooLong => Err(Trap::Interrupt.into()),
        }
    });
    enter(store);
}

/// A call begins.
pub(crate) fn enter<T: Instantiated>(store: &mut Store<T>) {
    store.set_epoch_deadline(1);
    store.data_mut().allowance().renew();
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;
    use std::time::Instant;

    use wasmtime::{Config, Instance, Module};

    use super::*;
    use crate::clock::{Clock, SystemClock};
    use crate::imports::Allowance;
    use crate::limits::Limits;

    struct State(SystemClock, Allowance);

    impl Instantiated for State {
        fn clock(&self) -> &dyn Clock {
            &self.0
        }

        fn allowance(&mut self) -> &mut Allowance {
            &mut self.1
        }
    }

    #[test]
    fn turns_are_short_while_a_call_is_watched_and_for_a_little_while_after() {
        assert_eq!(turns_left(0, 0), 0);
        assert_eq!(turns_left(1, 0), LINGER);
        assert_eq!(turns_left(3, LINGER), LINGER);
        assert_eq!(turns_left(0, LINGER), LINGER - 1);
        assert_eq!(turns_left(0, 1), 0);
    }

    #[test]
    fn a_call_that_goes_on_lets_others_run_until_its_time_is_up() {
        static YIELDED: AtomicU32 = AtomicU32::new(0);
        let engine = Engine::new(Config::new().epoch_interruption(true)).unwrap();
        let epoch = Epoch::start(&engine).unwrap();
        let endless = wat::parse_str("(module (func (export \"run\") (loop $l (br $l))))").unwrap();
        let endless = Module::new(&engine, endless).unwrap();
        let limits = Limits {
            call_timeout: Duration::from_millis(200),
            ..Limits::default()
        };
        let mut store = Store::new(
            &engine,
            State(SystemClock::default(), Allowance::new(&limits)),
        );
        limit(&mut store, || {
            YIELDED.fetch_add(1, Ordering::Relaxed);
            yield_thread()
        });
        let instance = Instance::new(&mut store, &endless, &[]).unwrap();
        let run = instance
            .get_typed_func::<(), ()>(&mut store, "run")
            .unwrap();
        let _watched = epoch.watch();
        for _ in 0..2 {
            let before = YIELDED.load(Ordering::Relaxed);
            enter(&mut store);
            let begin = Instant::now();
            let error = run.call(&mut store, ()).unwrap_err();
            assert_eq!(error.downcast_ref::<Trap>(), Some(&Trap::Interrupt));
            assert!(begin.elapsed() >= limits.call_timeout);
            assert!(YIELDED.load(Ordering::Relaxed) > before + 1);
        }
    }
}
