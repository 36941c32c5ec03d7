//! The way of each gateway to the server: lines into a network namespace, or relays where there is no right to make one.

use remora_test_support::namespace::Namespace;
use remora_test_support::relay::Relay;
use remora_test_support::server::Server;

pub enum Network {
    Lines(Namespace),
    Relays(Vec<Relay>),
}

impl Network {
    /// A server, and so many ways to it.
    pub fn new(ways: u8, arguments: &[&str]) -> (Self, Server) {
        match Namespace::new(ways) {
            Some(namespace) => {
                let server = Server::inside(&namespace, arguments);
                (Self::Lines(namespace), server)
            }
            None => {
                let server = Server::with(arguments);
                let relays = (0..ways).map(|_| Relay::to(server.port)).collect();
                (Self::Relays(relays), server)
            }
        }
    }

    /// The server's host and port, as they are at the end of this way.
    pub fn address(&self, server: &Server, way: u8) -> String {
        match self {
            Self::Lines(namespace) => format!("{}:{}", namespace.address(way), server.port),
            Self::Relays(relays) => format!("127.0.0.1:{}", relays[usize::from(way)].port),
        }
    }

    pub fn cut(&self, way: u8) {
        match self {
            Self::Lines(namespace) => namespace.cut(way),
            Self::Relays(relays) => relays[usize::from(way)].cut(),
        }
    }

    pub fn mend(&self, way: u8) {
        match self {
            Self::Lines(namespace) => namespace.mend(way),
            Self::Relays(relays) => relays[usize::from(way)].mend(),
        }
    }

    pub fn name(&self) -> &'static str {
        match self {
            Self::Lines(_) => "a network namespace, whose lines are taken down",
            Self::Relays(_) => {
                "relays that lose what they carry (no right to make a network namespace)"
            }
        }
    }
}
