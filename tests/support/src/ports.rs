//! Ports for servers that tests start, and start again.
//!
//! They lie below those that the system hands out to connections: a server that is down for a moment would find its port
//! taken by one of the thousands that other tests make. A lock keeps other tests away, of this process and of others.

use std::fs::{self, File};
use std::net::TcpListener;
use std::ops::Range;
use std::path::Path;
use std::sync::Mutex;

const ANY: Range<u16> = 25_000..32_700;
/// Nodes of a cluster talk to each other on a port that is higher by this.
const BUS: u16 = 10_000;
const OF_A_NODE: Range<u16> = 10_000..15_000;

/// A port that nobody uses, on any address; ours until this process ends.
pub fn free_port() -> u16 {
    first(ANY, is_free)
}

/// One for a Redis server, which may be a node of a cluster.
pub fn free_port_of_a_node() -> u16 {
    first(OF_A_NODE, |port| is_free(port) && is_free(port + BUS))
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("0.0.0.0", port)).is_ok()
}

fn first(mut among: Range<u16>, free: impl Fn(u16) -> bool) -> u16 {
    static OURS: Mutex<Vec<File>> = Mutex::new(Vec::new());
    let locks = std::env::temp_dir().join("remora-test-ports");
    fs::create_dir_all(&locks).unwrap();
    let (port, lock) = among
        .find_map(|port| Some((port, lock(&locks, port)?)).filter(|_| free(port)))
        .expect("a port that is free");
    OURS.lock().unwrap().push(lock);
    port
}

/// `None`: another test has it.
fn lock(locks: &Path, port: u16) -> Option<File> {
    let file = File::create(locks.join(port.to_string())).unwrap();
    file.try_lock().ok()?;
    Some(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_servers_get_one_port() {
        let mut all: Vec<u16> = (0..50).map(|_| free_port()).collect();
        all.extend((0..50).map(|_| free_port_of_a_node()));
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 100);
    }

    #[test]
    fn no_connection_gets_the_port_of_a_server() {
        let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
        let lowest: u16 = text.split_whitespace().next().unwrap().parse().unwrap();
        assert!(
            ANY.end <= lowest && OF_A_NODE.end + BUS <= ANY.start,
            "{lowest}"
        );
    }
}
