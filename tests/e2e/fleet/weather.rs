//! Exits that die and come back, one after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::exits::Exit;

pub struct Weather {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(Vec<Exit>, usize)>,
}

impl Weather {
    pub fn over(mut exits: Vec<Exit>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let mut deaths = 0;
            while !stopped.load(Ordering::SeqCst) {
                let count = exits.len();
                let exit = &mut exits[deaths % count];
                exit.kill();
                thread::sleep(Duration::from_millis(600));
                exit.restart();
                deaths += 1;
                thread::sleep(Duration::from_millis(600));
            }
            (exits, deaths)
        });
        Self { stop, thread }
    }

    /// The exits, and how often one died.
    pub fn finish(self) -> (Vec<Exit>, usize) {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().unwrap()
    }
}
