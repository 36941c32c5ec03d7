//! A client that asks again and again on one connection, and looks at the clock.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::SECRET;
use crate::parts::PATIENCE;
use crate::world::World;

pub struct Client {
    gateway: u16,
    request: String,
    stream: Option<TcpStream>,
}

/// What it was answered.
pub struct Said {
    pub status: u16,
    pub body: String,
    pub took: Duration,
}

impl Client {
    /// A user of the gateway, who shows the password that all of them have.
    pub fn new(world: &World, user: &str, host: &str) -> Self {
        Self::with(world, user, SECRET, host)
    }

    pub fn with(world: &World, user: &str, password: &str, host: &str) -> Self {
        let credentials = STANDARD.encode(format!("{user}:{password}"));
        Self {
            gateway: world.gateway,
            request: format!(
                "GET {} HTTP/1.1\r\nHost: {host}\r\nProxy-Authorization: Basic {credentials}\r\n\r\n",
                world.http(host, "/")
            ),
            stream: None,
        }
    }

    pub fn ask(&mut self) -> Said {
        let start = Instant::now();
        // A connection that was kept may be closed just now.
        let answer = match self.stream.take() {
            Some(stream) => self.on(stream).or_else(|_| self.on(self.connect())),
            None => self.on(self.connect()),
        };
        let (status, body, stream) = answer.unwrap();
        self.stream = stream;
        Said {
            status,
            body,
            took: start.elapsed(),
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.gateway)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn on(&self, mut stream: TcpStream) -> std::io::Result<(u16, String, Option<TcpStream>)> {
        stream.write_all(self.request.as_bytes())?;
        let mut bytes = Vec::new();
        let mut buffer = [0; 4_096];
        loop {
            let count = stream.read(&mut buffer)?;
            bytes.extend_from_slice(&buffer[..count]);
            let text = String::from_utf8_lossy(&bytes);
            let Some((head, body)) = text.split_once("\r\n\r\n") else {
                if count == 0 {
                    return Err(std::io::ErrorKind::UnexpectedEof.into());
                }
                continue;
            };
            let head = head.to_ascii_lowercase();
            let lines = || head.lines().filter_map(|line| line.split_once(": "));
            let length = lines().find(|(name, _)| *name == "content-length");
            let length: Option<usize> = length.map(|(_, length)| length.parse().unwrap());
            if length.is_some_and(|length| body.len() >= length) || count == 0 {
                let closes = count == 0 || lines().any(|line| line == ("connection", "close"));
                let status = head.split(' ').nth(1).unwrap().parse().unwrap();
                let body = body.trim().to_owned();
                return Ok((status, body, (!closes).then_some(stream)));
            }
        }
    }
}
