//! A piece of network between a client and a server, that can be cut.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

const WHOLE: u8 = 0;
/// What the server says gets lost.
const DEAF: u8 = 1;
/// Nothing gets through, and nobody is told.
const CUT: u8 = 2;

pub struct Relay {
    pub port: u16,
    server: Arc<AtomicU16>,
    mode: Arc<AtomicU8>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Relay {
    /// A way to a port of this machine.
    pub fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let relay = Self {
            port: listener.local_addr().unwrap().port(),
            server: Arc::new(AtomicU16::new(server)),
            mode: Arc::new(AtomicU8::new(WHOLE)),
            open: Arc::default(),
        };
        let (mode, open) = (relay.mode.clone(), relay.open.clone());
        let server = relay.server.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                let port = server.load(Ordering::SeqCst);
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else {
                    continue;
                };
                let streams = [client, server];
                open.lock()
                    .unwrap()
                    .extend(streams.iter().map(|s| s.try_clone().unwrap()));
                for (from, to, lost) in [(0, 1, CUT), (1, 0, DEAF)] {
                    let from = streams[from].try_clone().unwrap();
                    let to = streams[to].try_clone().unwrap();
                    let mode = mode.clone();
                    thread::spawn(move || carry(from, to, &mode, lost));
                }
            }
        });
        relay
    }

    /// From now on the server hears everything, and is not heard.
    pub fn lose_answers(&self) {
        self.mode.store(DEAF, Ordering::SeqCst);
    }

    pub fn cut(&self) {
        self.mode.store(CUT, Ordering::SeqCst);
    }

    /// From now on it leads to another port; connections from before are reset.
    pub fn turn_to(&self, server: u16) {
        self.server.store(server, Ordering::SeqCst);
        self.mend();
    }

    /// Whole again; connections from before are reset.
    pub fn mend(&self) {
        for stream in self.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        self.mode.store(WHOLE, Ordering::SeqCst);
    }
}

/// Carries bytes one way; loses them from mode `lost` on.
fn carry(mut from: TcpStream, mut to: TcpStream, mode: &AtomicU8, lost: u8) {
    let mut buffer = [0; 16_384];
    while let Ok(count) = from.read(&mut buffer) {
        if count == 0 {
            break;
        }
        let gets_through = mode.load(Ordering::SeqCst) < lost;
        if gets_through && to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    // Where the line is cut, the end of the other side is not heard either.
    while mode.load(Ordering::SeqCst) >= lost {
        thread::sleep(Duration::from_millis(10));
    }
    let _ = to.shutdown(Shutdown::Both);
}
