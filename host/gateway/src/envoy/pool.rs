//! The proxies as Envoy has to see them.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use remora_host::{Proxy, ProxyType};
use url::Url;
use uuid::Uuid;

use crate::config::{BuildError, Config, field, proxies};

/// A proxy, taken apart: what the filter may know, and what only the cluster may.
#[derive(Clone)]
pub(super) struct Upstream {
    pub(super) id: Uuid,
    /// Without credentials.
    pub(super) url: String,
    pub(super) host: String,
    pub(super) address: SocketAddr,
    pub(super) tls: bool,
    /// The value of `Proxy-Authorization`.
    pub(super) authorization: Option<String>,
    pub(super) weight: u32,
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstream")
            .field("id", &self.id)
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// Where systems keep whom they trust.
const SYSTEM_ROOTS: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// The file with the certificates that `https://` proxies are checked against: Envoy takes one.
pub(super) fn roots(config: &Config) -> Option<PathBuf> {
    let own = config.tls_ca().cloned();
    own.or_else(|| {
        let mut known = SYSTEM_ROOTS.iter().map(PathBuf::from);
        known.find(|path| path.exists())
    })
}

pub(super) fn read(config: &Config) -> Result<Vec<Upstream>, BuildError> {
    let entries = &config.file.proxy;
    let mut pool: Vec<Upstream> = Vec::with_capacity(entries.len());
    for (i, entry) in entries.iter().enumerate() {
        if let Some(exits) = entry.exits {
            let accepted = "left out: Envoy's credentials are the same for every request, so there is one exit \
                            behind an address";
            return Err(field(format!("proxy[{i}].exits"), exits, accepted));
        }
        for proxy in proxies(entry, i, &mut Vec::new()) {
            let upstream = Upstream::new(i, &proxy)?;
            if upstream.tls && roots(config).is_none() {
                let accepted = "an http:// proxy, or a file of trusted certificates in `tls.ca`: this system has none";
                return Err(field(format!("proxy[{i}].url"), upstream.url, accepted));
            }
            if let Some(first) = pool.iter().position(|u| u.address == upstream.address) {
                let accepted = "an address of its own: Envoy knows proxies by their address";
                let value = format!("{} ({}, as proxy[{first}])", upstream.url, upstream.address);
                return Err(field(format!("proxy[{i}].url"), value, accepted));
            }
            pool.push(upstream);
        }
    }
    Ok(pool)
}

impl Upstream {
    fn new(i: usize, proxy: &Proxy) -> Result<Self, BuildError> {
        let name = format!("proxy[{i}].url");
        let tls = match proxy.proxy_type {
            ProxyType::Http => false,
            ProxyType::Https => true,
            _ => {
                let accepted = "an http:// or https:// proxy: Envoy cannot dial SOCKS5 upstreams, \
                                `remora serve` can";
                return Err(field(name, &proxy.url, accepted));
            }
        };
        if proxy.has_templates() {
            let accepted = "a user name and password without `{…}`: Envoy's credentials are the same for every \
                            request; `remora serve` fills them in";
            return Err(field(name, &proxy.url, accepted));
        }
        let accepted = "a URL such as `http://host:port`";
        let url = Url::parse(&proxy.url).map_err(|_| field(&name, &proxy.url, accepted))?;
        let default = if tls { 443 } else { 80 };
        let (Some(host), port) = (url.host_str(), url.port().unwrap_or(default)) else {
            return Err(field(name, &proxy.url, accepted));
        };
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let resolved = (bare, port).to_socket_addrs().ok();
        let address = resolved.and_then(|mut all| all.next()).ok_or_else(|| {
            let accepted = "an address, or a name that resolves on this machine now";
            field(&name, &proxy.url, accepted)
        })?;
        let authorization = proxy.username.as_ref().map(|user| {
            let password = proxy.password.as_deref().unwrap_or_default();
            let both = STANDARD.encode(format!("{user}:{password}"));
            format!("Basic {both}")
        });
        Ok(Self {
            id: proxy.id()?,
            url: proxy.url.clone(),
            host: bare.to_owned(),
            address,
            tls,
            authorization,
            weight: proxy.weight,
        })
    }
}
