//! A client that keeps its connection: quicker than a process for each request.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use crate::egress::Egress;
use crate::parts::PATIENCE;

pub struct Client {
    stream: BufReader<TcpStream>,
    host: String,
}

impl Client {
    /// Connects to Envoy. The requests are for `host` at the origin.
    pub fn connect(egress: &Egress, host: &str) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", egress.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            stream: BufReader::new(stream),
            host: format!("{host}:{}", egress.http),
        }
    }

    /// Asks for a path in a session; answers with the status and the body.
    pub fn get(&mut self, path: &str, session: &str) -> (u16, String) {
        self.send(path, session);
        self.receive()
    }

    /// The first half of [`Client::get`].
    pub fn send(&mut self, path: &str, session: &str) {
        let host = &self.host;
        let head = format!(
            "GET http://{host}{path} HTTP/1.1\r\nhost: {host}\r\nx-session-id: {session}\r\n\r\n"
        );
        self.stream.get_mut().write_all(head.as_bytes()).unwrap();
    }

    /// The second half.
    pub fn receive(&mut self) -> (u16, String) {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        let status = line.split(' ').nth(1).unwrap().parse().unwrap();
        let mut length = 0;
        loop {
            line.clear();
            self.stream.read_line(&mut line).unwrap();
            match line.trim_end().split_once(": ") {
                Some(("content-length", value)) => length = value.parse().unwrap(),
                Some(_) => {}
                None => break,
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).unwrap();
        (status, String::from_utf8(body).unwrap().trim().to_owned())
    }
}
