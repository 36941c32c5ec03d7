//! Upstream proxies of every kind, each with an exit IP of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use remora_test_support::ports::free_port;

use crate::parts::Process;
use crate::world::{PASSWORD, USER};

/// What speaks at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// HTTP in the clear, with a password.
    Tinyproxy,
    /// HTTP in the clear, with a password of its own: the common one and the last part of its address.
    OwnPassword,
    /// HTTP in the clear, without a password.
    OpenTinyproxy,
    /// HTTP over TLS, with any password. It logs the user names it sees.
    Squid,
    /// SOCKS5 with a password; names are resolved by the gateway.
    Socks5,
    /// SOCKS5 with a password; names are resolved by the proxy.
    Socks5h,
}

/// An upstream proxy.
pub struct Exit {
    kind: Kind,
    /// What the origin sees.
    pub ip: String,
    pub port: u16,
    dir: PathBuf,
    process: Process,
}

impl Exit {
    pub fn start(kind: Kind, dir: &Path, last: u8) -> Self {
        let (ip, port) = (format!("127.0.0.{last}"), free_port());
        let dir = dir.join(format!("exit-{last}"));
        fs::create_dir(&dir).unwrap();
        let process = run(kind, &dir, &ip, port);
        Self {
            kind,
            ip,
            port,
            dir,
            process,
        }
    }

    /// Its entry in the configuration.
    pub fn entry(&self, password: &str) -> String {
        let scheme = match self.kind {
            Kind::Tinyproxy | Kind::OwnPassword | Kind::OpenTinyproxy => "http",
            Kind::Squid => "https",
            Kind::Socks5 => "socks5",
            Kind::Socks5h => "socks5h",
        };
        let user = match password {
            "" => String::new(),
            _ if self.kind == Kind::OpenTinyproxy => String::new(),
            _ if self.kind == Kind::OwnPassword => format!("{USER}:{}@", own_password(&self.ip)),
            _ => format!("{USER}:{password}@"),
        };
        format!(
            "[[proxy]]\nurl = \"{scheme}://{user}127.0.0.1:{}\"",
            self.port
        )
    }

    pub fn kill(&mut self) {
        self.process.kill();
    }

    pub fn restart(&mut self) {
        self.process = run(self.kind, &self.dir, &self.ip, self.port);
    }

    /// What a squid has logged: a line a request, with the user name.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("access.log")).unwrap_or_default()
    }
}

fn run(kind: Kind, dir: &Path, ip: &str, port: u16) -> Process {
    match kind {
        Kind::Tinyproxy => tinyproxy(dir, ip, port, &format!("BasicAuth {USER} {PASSWORD}")),
        Kind::OwnPassword => {
            let password = own_password(ip);
            tinyproxy(dir, ip, port, &format!("BasicAuth {USER} {password}"))
        }
        Kind::OpenTinyproxy => tinyproxy(dir, ip, port, ""),
        Kind::Squid => squid(dir, ip, port),
        Kind::Socks5 | Kind::Socks5h => {
            let mut command = Command::new("microsocks");
            let port_text = port.to_string();
            command
                .args(["-i", "127.0.0.1", "-p", &port_text, "-b", ip])
                .args(["-u", USER, "-P", PASSWORD]);
            Process::start(&mut command, &dir.join("log"), port)
        }
    }
}

fn own_password(ip: &str) -> String {
    let last = ip.rsplit('.').next().unwrap_or_default();
    format!("{PASSWORD}-{last}")
}

fn tinyproxy(dir: &Path, ip: &str, port: u16, more: &str) -> Process {
    let config = dir.join("tinyproxy.conf");
    let text = format!(
        "Port {port}\nListen 127.0.0.1\nBind {ip}\nTimeout 60\nMaxClients 500\n{more}\n\
         LogLevel Error\nDisableViaHeader Yes\n"
    );
    fs::write(&config, text).unwrap();
    let mut command = Command::new("tinyproxy");
    Process::start(
        command.arg("-d").arg("-c").arg(config),
        &dir.join("log"),
        port,
    )
}

fn squid(dir: &Path, ip: &str, port: u16) -> Process {
    // It gives up root's rights, and its helper accepts whoever comes.
    fs::set_permissions(dir, fs::Permissions::from_mode(0o777)).unwrap();
    fs::set_permissions(dir.parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
    let helper = dir.join("everybody");
    fs::write(&helper, "#!/bin/sh\nwhile read -r line; do echo OK; done\n").unwrap();
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
    let (d, parent) = (dir.display(), dir.parent().unwrap().display());
    let text = format!(
        "https_port 127.0.0.1:{port} tls-cert={parent}/cert.pem tls-key={parent}/key.pem\n\
         auth_param basic program {d}/everybody\nauth_param basic credentialsttl 1 hour\n\
         acl known proxy_auth REQUIRED\nhttp_access allow known\nhttp_access deny all\n\
         tcp_outgoing_address {ip}\ncache deny all\ncache_mem 8 MB\nvia off\nforwarded_for delete\n\
         logformat users %un %rm %ru\naccess_log stdio:{d}/access.log users\ncache_log {d}/cache.log\n\
         pid_filename {d}/squid.pid\ncoredump_dir {d}\nshutdown_lifetime 0 seconds\nmax_filedescriptors 1024\n\
         pinger_enable off\nworkers 1\n"
    );
    let config = dir.join("squid.conf");
    fs::write(&config, text).unwrap();
    let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new("squid");
    command.env("PATH", path).arg("-N").arg("-f").arg(config);
    Process::start(&mut command, &dir.join("log"), port)
}
