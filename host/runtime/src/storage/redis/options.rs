//! What a `redis://` address says.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;
use url::Url;

/// How to reach a Redis or Valkey server or cluster, and what is ours there.
#[derive(Clone)]
pub struct RedisOptions {
    /// The nodes to begin with: one server, or some nodes of a cluster.
    pub(super) nodes: Vec<Url>,
    pub(super) cluster: bool,
    /// What all keys begin with: one for each tenant. Up to 64 letters, digits, `-`, `_`, `.` or `:`.
    pub prefix: String,
    /// The certificates to trust instead of the system's, a PEM file; for `rediss://`.
    pub ca: Option<PathBuf>,
    /// How long one attempt may wait for its answer.
    pub answer_timeout: Duration,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
}

impl fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes: Vec<String> = self.nodes.iter().map(shown).collect();
        f.debug_struct("RedisOptions")
            .field("nodes", &nodes)
            .field("cluster", &self.cluster)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

/// A node without user name and password.
fn shown(node: &Url) -> String {
    let host = node.host_str().unwrap_or_default();
    format!("{}://{host}:{}", node.scheme(), node.port().unwrap_or(6379))
}

/// Why an address is not accepted. Shows none of it that may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RedisAddressError {
    /// Another kind of address.
    #[error("the scheme `{0}`; accepted: redis, rediss, redis-cluster, rediss-cluster")]
    Scheme(String),
    /// Not the form of an address.
    #[error(
        "accepted: redis://[user:password@]host[:port][/database][?prefix=…&ca=…], for a cluster redis-cluster://host:port,host:port,…"
    )]
    Form,
    /// A part after the `?`.
    #[error("`{name}` in the address is `{value}`; accepted: {accepted}")]
    Part {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
        /// What would be accepted.
        accepted: &'static str,
    },
}

const PARTS: &str = "prefix, ca";
const PREFIX: &str = "1 to 64 letters, digits, `-`, `_`, `.` or `:`";

impl RedisOptions {
    /// Reads an address: `redis://[user:password@]host[:port][/database]`, with TLS `rediss://`, a cluster
    /// `redis-cluster://host:port,host:port` or `rediss-cluster://`. `?prefix=` sets what keys begin with
    /// (`remora` otherwise), `&ca=` a file of certificates to trust.
    ///
    /// ```
    /// use remora_host::storage::RedisOptions;
    ///
    /// let options = RedisOptions::parse("rediss://remora:pw@redis.internal/?prefix=team-a")?;
    /// assert_eq!(options.prefix, "team-a");
    /// assert!(!format!("{options:?}").contains("pw"));
    /// # Ok::<(), remora_host::storage::RedisAddressError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`RedisAddressError`] says which part is not accepted; it shows no password.
    pub fn parse(address: &str) -> Result<Self, RedisAddressError> {
        let (scheme, rest) = address.split_once("://").ok_or(RedisAddressError::Form)?;
        let (scheme, cluster) = match scheme {
            "redis" | "rediss" => (scheme, false),
            "redis-cluster" => ("redis", true),
            "rediss-cluster" => ("rediss", true),
            // What is no scheme may be anything.
            other => {
                let plain = other.len() <= 32
                    && other
                        .chars()
                        .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
                let scheme = if plain { other } else { "…" };
                return Err(RedisAddressError::Scheme(scheme.to_owned()));
            }
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        let (user, hosts) = authority
            .rsplit_once('@')
            .map_or(("", authority), |(user, hosts)| (user, hosts));
        let at = if user.is_empty() { "" } else { "@" };
        let nodes: Vec<Url> = hosts
            .split(',')
            .map(|host| Url::parse(&format!("{scheme}://{user}{at}{host}{tail}")))
            .collect::<Result<_, _>>()
            .map_err(|_| RedisAddressError::Form)?;
        let hostless = nodes
            .iter()
            .any(|node| node.host_str().is_none_or(str::is_empty));
        if hostless || (nodes.len() > 1 && !cluster) {
            return Err(RedisAddressError::Form);
        }
        let mut options = Self {
            cluster,
            prefix: "remora".into(),
            ca: None,
            answer_timeout: Duration::from_millis(500),
            connect_timeout: Duration::from_secs(1),
            nodes: Vec::new(),
        };
        if let Some(node) = nodes.first() {
            for (name, value) in node.query_pairs() {
                options.set(&name, &value)?;
            }
        }
        options.nodes = nodes
            .into_iter()
            .map(|mut node| {
                node.set_query(None);
                node.set_fragment(None);
                node
            })
            .collect();
        Ok(options)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), RedisAddressError> {
        match name {
            "prefix" => {
                let fits = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
                if value.is_empty() || value.len() > 64 || !value.chars().all(fits) {
                    return Err(RedisAddressError::Part {
                        name: name.to_owned(),
                        value: value.to_owned(),
                        accepted: PREFIX,
                    });
                }
                value.clone_into(&mut self.prefix);
            }
            "ca" => self.ca = Some(value.into()),
            // A name that is not known may be a password that was not percent-encoded.
            _ => {
                return Err(RedisAddressError::Part {
                    name: "?".into(),
                    value: "…".into(),
                    accepted: PARTS,
                });
            }
        }
        Ok(())
    }

    /// The nodes without user names and passwords, for logs.
    pub(super) fn shown(&self) -> String {
        let nodes: Vec<String> = self.nodes.iter().map(shown).collect();
        nodes.join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_in_all_its_parts() {
        let one =
            RedisOptions::parse("rediss://u:p%40ss@h.example:7000/3?prefix=a.b&ca=/etc/ca.pem")
                .unwrap();
        assert_eq!(one.nodes[0].as_str(), "rediss://u:p%40ss@h.example:7000/3");
        assert_eq!((one.prefix.as_str(), one.cluster), ("a.b", false));
        assert_eq!(one.ca, Some("/etc/ca.pem".into()));
        let many = RedisOptions::parse("redis-cluster://u:p@a:1,b:2,[::1]:3").unwrap();
        let nodes: Vec<&str> = many.nodes.iter().map(Url::as_str).collect();
        assert_eq!(
            nodes,
            ["redis://u:p@a:1", "redis://u:p@b:2", "redis://u:p@[::1]:3"]
        );
        assert!(many.cluster);
    }

    #[test]
    fn no_error_shows_a_password() {
        for address in [
            "redis://user:s3cret@",
            "s3cret",
            "redis//user:s3cret@host://",
            "redis://user:s3cret@a,b",
            "redis://user:s3cret@host:port",
            "redis://user:pa?s3cret@host",
            "redis://user:pw@host/?prefix=no spaces&s3cret=1",
            "redis://user:pw@host/?s3cret",
        ] {
            let error = RedisOptions::parse(address).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
        }
        let good = RedisOptions::parse("redis://user:s3cret@host").unwrap();
        assert!(!format!("{good:?}").contains("s3cret"));
    }
}
