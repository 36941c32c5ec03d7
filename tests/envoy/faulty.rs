//! An upstream proxy that does one thing wrong, over and over.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// What it does once it has a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: the connection stays open.
    Silent,
    /// It closes the connection.
    Closes,
    /// It answers so.
    Answers(&'static str),
}

pub const REFUSES_CREDENTIALS: Fault = Fault::Answers(
    "HTTP/1.1 407 Proxy Authentication Required\r\nproxy-authenticate: Basic realm=\"the provider\"\r\ncontent-length: 0\r\n\r\n",
);
pub const OVERLOADED: Fault =
    Fault::Answers("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n");

pub struct Faulty {
    pub port: u16,
    seen: Arc<AtomicUsize>,
}

impl Faulty {
    pub fn start(fault: Fault) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&seen);
        thread::spawn(move || {
            let mut open = Vec::new();
            for connection in listener.incoming() {
                let Ok(mut connection) = connection else {
                    continue;
                };
                let mut head = [0; 4_096];
                // Whoever sends nothing is no request: Envoy's port is looked at when a test begins.
                if !matches!(connection.read(&mut head), Ok(1..)) {
                    continue;
                }
                count.fetch_add(1, Ordering::Relaxed);
                match fault {
                    Fault::Silent => open.push(connection),
                    Fault::Closes => {}
                    Fault::Answers(text) => {
                        let _ = connection.write_all(text.as_bytes());
                    }
                }
            }
        });
        Self { port, seen }
    }

    /// How many requests it has had.
    pub fn seen(&self) -> usize {
        self.seen.load(Ordering::Relaxed)
    }

    /// Its entry in the configuration.
    pub fn entry(&self) -> String {
        format!(
            "[[proxy]]\nurl = \"http://user:faulty-s3cret@127.0.0.1:{}\"\n",
            self.port
        )
    }
}
