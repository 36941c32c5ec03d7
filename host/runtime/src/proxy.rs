//! An upstream proxy: what the host knows and the plugin never sees.

use std::fmt;
use std::num::NonZeroU32;

use url::{ParseError, Position, Url};
use uuid::Uuid;

use crate::credentials::{Credentials, Parts};
use crate::error::Error;

/// The protocol spoken to a proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProxyType {
    /// HTTP in the clear.
    #[default]
    Http,
    /// HTTP over TLS.
    Https,
    /// SOCKS5; names are resolved on this side.
    Socks5,
    /// SOCKS5; names are resolved by the proxy.
    Socks5h,
}

impl ProxyType {
    /// The URL scheme.
    pub fn scheme(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Socks5 => "socks5",
            Self::Socks5h => "socks5h",
        }
    }

    fn from_scheme(scheme: &str) -> Option<Self> {
        let all = [Self::Http, Self::Https, Self::Socks5, Self::Socks5h];
        all.into_iter().find(|t| t.scheme() == scheme)
    }

    fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
            Self::Socks5 | Self::Socks5h => 1080,
        }
    }
}

/// An upstream proxy.
///
/// A provider that keeps many exits behind one address takes the session's name as a part of the user name
/// or of the password. There these stand for what belongs to a lease:
///
/// | placeholder | what it becomes |
/// |---|---|
/// | `{session}` | 16 letters and digits: the same as long as the session lasts, others for the next one, and for a request without a session others every time |
/// | `{ttl_minutes}` | the session's time to live in minutes, rounded up; 1 without a session |
/// | `{tags}` | the tags that the request asks for, a `-` before each |
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    /// `scheme://host:port`. Credentials may stand here (`http://user:pass@host:port`, percent-encoded) or
    /// in the fields below, not in both. Ends with `#` and a number for one of several exits behind the
    /// address, see [`Proxy::exits`].
    pub url: String,
    /// The protocol; has to agree with the URL's scheme.
    pub proxy_type: ProxyType,
    /// The user name, as it is (not percent-encoded).
    pub username: Option<String>,
    /// The password, as it is (not percent-encoded).
    pub password: Option<String>,
    /// Its share of new sessions under the `weighted` strategy, 1 to 65,535.
    pub weight: u32,
    /// What a request may ask for.
    pub tags: Vec<String>,
}

impl Default for Proxy {
    fn default() -> Self {
        Self {
            url: String::new(),
            proxy_type: ProxyType::Http,
            username: None,
            password: None,
            weight: 1,
            tags: Vec::new(),
        }
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("url", &without_credentials(&self.url))
            .field("proxy_type", &self.proxy_type)
            .field("username", &self.username.as_ref().map(|_| "…"))
            .field("password", &self.password.as_ref().map(|_| "…"))
            .field("weight", &self.weight)
            .field("tags", &self.tags)
            .finish()
    }
}

/// A URL fit for people's eyes, whatever it holds.
fn without_credentials(url: &str) -> String {
    match Url::parse(url) {
        // `user:password@host:80` is a URL, of the scheme `user`: nothing of it can be shown.
        Ok(url) if !url.has_host() => "(a URL without `scheme://`)".into(),
        // `http://http://user:password@host` has the host `http` and all the rest as its path.
        Ok(url) if url[Position::AfterPort..].contains('@') => {
            "(a URL with an `@` behind its host)".into()
        }
        Ok(mut url) => {
            // Both fail for URLs that cannot have credentials, and then there is nothing to hide.
            let _ = url.set_username("");
            let _ = url.set_password(None);
            url.to_string()
        }
        Err(_) => "(not a URL)".into(),
    }
}

/// What ends a user name or a password before it was meant to.
const ENCODE: &str =
    ", user and password percent-encoded: `/` is `%2F`, `#` is `%23`, `?` is `%3F`, `@` is `%40`";

/// What is most likely behind a text that is no URL.
fn hint(error: ParseError) -> &'static str {
    match error {
        ParseError::RelativeUrlWithoutBase => {
            ": `http://` (or https://, socks5://, socks5h://) goes before the host"
        }
        // `http://user:a/b@host:80` is a URL, of a host `user` with a port `a`.
        ParseError::InvalidPort => ENCODE,
        _ => "",
    }
}

impl Proxy {
    /// Reads a proxy from its URL, the type from the scheme.
    ///
    /// ```
    /// use remora_host::{Proxy, ProxyType};
    ///
    /// let proxy = Proxy::from_url("http://user:p%40ss@192.0.2.1:8080")?;
    /// assert_eq!(proxy.proxy_type, ProxyType::Http);
    /// assert_eq!(proxy.password.as_deref(), Some("p@ss"));
    /// assert!(!format!("{proxy:?}").contains("p@ss"));
    /// # Ok::<(), remora_host::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] says what is wrong with the URL, without repeating its credentials.
    pub fn from_url(url: &str) -> Result<Self, Error> {
        let accepted = "a URL such as `http://user:password@host:port`";
        let parsed = Url::parse(url).map_err(|error| {
            let accepted = format!("{accepted}{}", hint(error));
            Error::invalid("proxy.url", format!("(not a URL: {error})"), accepted)
        })?;
        let proxy_type = ProxyType::from_scheme(parsed.scheme()).ok_or_else(|| {
            let accepted = "a URL that begins with http://, https://, socks5:// or socks5h://";
            Error::invalid("proxy.url", without_credentials(url), accepted)
        })?;
        let proxy = Self {
            url: url.into(),
            proxy_type,
            ..Self::default()
        };
        Ok(Self {
            url: proxy.endpoint()?.address(),
            ..proxy.with_credentials_from(&parsed)
        })
    }

    /// Whether the user name or the password holds `{session}`, so that exits behind the address can differ.
    pub fn has_sessions(&self) -> bool {
        let both = [&self.username, &self.password];
        both.into_iter()
            .flatten()
            .any(|text| Parts::name_session(text))
    }

    /// Whether the user name or the password holds a part that is filled in for each request.
    pub fn has_templates(&self) -> bool {
        let both = [&self.username, &self.password];
        both.into_iter().flatten().any(|text| Parts::stand_in(text))
    }

    /// Something in braces in the user name that looks like a placeholder and is not one, such as `{sesion}`.
    pub fn unknown_placeholder(&self) -> Option<&str> {
        Parts::unknown(self.username.as_deref()?)
    }

    /// The proxy as so many exits behind its address, each with a breaker, sessions and turns of its own.
    /// Their URLs end with `#1`, `#2` and so on. What makes them differ on the wire is `{session}` in the
    /// user name or password.
    ///
    /// ```
    /// use remora_host::Proxy;
    ///
    /// let gateway = Proxy::from_url("http://customer-U-session-{session}:pass@gw.example:7000")?;
    /// let exits = gateway.exits(50);
    /// assert_eq!(exits[49].url, "http://gw.example:7000#50");
    /// # Ok::<(), remora_host::Error>(())
    /// ```
    pub fn exits(&self, count: u32) -> Vec<Self> {
        let one = |number| Self {
            url: format!("{}#{number}", self.url),
            ..self.clone()
        };
        (1..=count).map(one).collect()
    }

    /// Its identity: a UUIDv5 of the URL with the user name and without the password, so that it is the
    /// same on every worker, machine and restart.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when the URL is not one of a proxy.
    pub fn id(&self) -> Result<Uuid, Error> {
        let endpoint = self.endpoint()?;
        let user = match &endpoint.username {
            Some(user) => format!("{user}@"),
            None => String::new(),
        };
        let scheme = endpoint.proxy_type.scheme();
        let exit = endpoint.exit();
        let name = format!("{scheme}://{user}{}:{}{exit}", endpoint.host, endpoint.port);
        Ok(Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes()))
    }

    /// The proxy as a client has to see it.
    pub(crate) fn endpoint(&self) -> Result<Endpoint, Error> {
        let invalid = |value: String, accepted: &str| Error::invalid("proxy.url", value, accepted);
        let accepted = "a URL such as `http://host:port`";
        let url = Url::parse(&self.url).map_err(|error| {
            let accepted = format!("{accepted}{}", hint(error));
            invalid(format!("(not a URL: {error})"), &accepted)
        })?;
        let shown = || without_credentials(&self.url);
        if url.scheme() != self.proxy_type.scheme() {
            let accepted = format!(
                "a URL that begins with {}://, as its `proxy_type` says",
                self.proxy_type.scheme()
            );
            return Err(invalid(shown(), &accepted));
        }
        if url[Position::AfterPort..].contains('@') {
            // The host is what was to be the user name.
            let accepted = format!("a URL with `@` before its host only{ENCODE}");
            return Err(invalid(shown(), &accepted));
        }
        if !matches!(url.path(), "" | "/") || url.query().is_some() {
            return Err(invalid(shown(), "a URL without path and query"));
        }
        let exit = url.fragment().map(str::parse::<NonZeroU32>).transpose();
        let exit = exit.map_err(|_| {
            let accepted = "a URL without fragment, or with the number of an exit in its place";
            invalid(shown(), accepted)
        })?;
        let Some(host) = url.host_str().filter(|host| !host.is_empty()) else {
            return Err(invalid(shown(), "a URL with a host"));
        };
        let in_url = !url.username().is_empty() || url.password().is_some();
        if in_url && (self.username.is_some() || self.password.is_some()) {
            return Err(invalid(
                shown(),
                "credentials in the URL or in `username` and `password`, not in both",
            ));
        }
        let with = self.clone().with_credentials_from(&url);
        if with.password.is_some() && with.username.is_none() {
            return Err(invalid(
                shown(),
                "a password only together with a user name",
            ));
        }
        Ok(Endpoint {
            proxy_type: self.proxy_type,
            host: host.to_owned(),
            port: url.port().unwrap_or(self.proxy_type.default_port()),
            exit,
            username: with.username,
            password: with.password,
        })
    }

    fn with_credentials_from(self, url: &Url) -> Self {
        let decode = |text: &str| {
            let bytes = percent_encoding::percent_decode_str(text);
            bytes.decode_utf8_lossy().into_owned()
        };
        let username = Some(url.username()).filter(|u| !u.is_empty()).map(decode);
        Self {
            username: username.or(self.username),
            password: url.password().map(decode).or(self.password),
            ..self
        }
    }
}

/// A proxy with its URL taken apart and checked.
#[derive(Clone)]
pub(crate) struct Endpoint {
    pub(crate) proxy_type: ProxyType,
    /// IPv6 addresses in brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Which of several exits behind the address.
    exit: Option<NonZeroU32>,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
}

impl Endpoint {
    /// The URL without credentials.
    pub(crate) fn address(&self) -> String {
        let exit = self.exit();
        let scheme = self.proxy_type.scheme();
        format!("{scheme}://{}:{}{exit}", self.host, self.port)
    }

    fn exit(&self) -> String {
        self.exit.map(|n| format!("#{n}")).unwrap_or_default()
    }

    /// The URL with credentials, as clients take it.
    pub(crate) fn url(&self, credentials: Option<Credentials>) -> String {
        // The address was made from a URL's parts, so it is one.
        let Ok(mut url) = Url::parse(&self.address()) else {
            return self.address();
        };
        url.set_fragment(None);
        if let Some(credentials) = credentials {
            let _ = url.set_username(&credentials.username);
            let _ = url.set_password(credentials.password.as_deref());
        }
        url.to_string()
    }

    /// Whether the credentials differ from lease to lease.
    pub(crate) fn is_template(&self) -> bool {
        let both = [&self.username, &self.password];
        both.into_iter().flatten().any(|text| Parts::stand_in(text))
    }

    pub(crate) fn credentials(&self, parts: Option<&Parts>) -> Option<Credentials> {
        let fill = |text: &String| match parts {
            Some(parts) => parts.fill(text),
            None => text.clone(),
        };
        Some(Credentials {
            username: fill(self.username.as_ref()?),
            password: self.password.as_ref().map(fill),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(url: &str) -> Proxy {
        Proxy {
            url: url.into(),
            ..Proxy::default()
        }
    }

    #[test]
    fn the_id_does_not_depend_on_the_password_or_on_where_the_user_stands() {
        let one = proxy("http://user:one@192.0.2.1:8080/").id().unwrap();
        let two = proxy("http://user:two@192.0.2.1:8080").id().unwrap();
        let apart = Proxy {
            username: Some("user".into()),
            password: Some("three".into()),
            ..proxy("http://192.0.2.1:8080")
        };
        assert_eq!(one, two);
        assert_eq!(one, apart.id().unwrap());
        assert_ne!(one, proxy("http://192.0.2.1:8080").id().unwrap());
        assert_ne!(one, proxy("http://other:one@192.0.2.1:8080").id().unwrap());
    }

    #[test]
    fn what_is_wrong_with_a_url_is_said_without_its_secret() {
        for (url, proxy_type) in [
            ("http://user:s3cret@host:99999", ProxyType::Http),
            ("http://user:s3cret@host:80/path", ProxyType::Http),
            ("https://user:s3cret@host:80", ProxyType::Http),
            ("user:s3cret@host:80", ProxyType::Http),
            ("http://:s3cret@host:80", ProxyType::Http),
            ("http://user:s3cret@host/?q", ProxyType::Http),
            ("http://http://user:s3cret@host:80", ProxyType::Http),
        ] {
            let proxy = Proxy {
                proxy_type,
                ..proxy(url)
            };
            let error = proxy.id().unwrap_err().to_string();
            assert!(error.contains("proxy.url"), "{error}");
            assert!(!error.contains("s3cret"), "{error}");
            assert!(!format!("{proxy:?}").contains("s3cret"));
            if let Err(error) = Proxy::from_url(url) {
                assert!(!error.to_string().contains("s3cret"), "{error}");
            }
        }
    }

    #[test]
    fn what_is_most_likely_meant_is_said() {
        for (url, says) in [
            ("127.0.0.1:8080", "`http://`"),
            ("user@127.0.0.1:8080", "`http://`"),
            ("proxy.example", "`http://`"),
            ("localhost:8080", "http://"),
            ("http://user:a/s3cret@host:80", "`/` is `%2F`"),
            ("http://user:a#s3cret@host:80", "`#` is `%23`"),
            ("http://user:a?s3cret@host:80", "`?` is `%3F`"),
            ("http://user:12/s3cret@host:80", "`/` is `%2F`"),
            ("http://user:12#s3cret@host:80", "`#` is `%23`"),
        ] {
            let error = Proxy::from_url(url).unwrap_err().to_string();
            assert!(error.contains(says), "{url}: {error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn credentials_survive_the_way_through_the_url() {
        let proxy = Proxy::from_url("http://us%3Aer:p%40s%2Fs@[2001:db8::1]:3128").unwrap();
        assert_eq!(proxy.url, "http://[2001:db8::1]:3128");
        assert_eq!(proxy.username.as_deref(), Some("us:er"));
        let endpoint = proxy.endpoint().unwrap();
        let url = endpoint.url(endpoint.credentials(None));
        assert_eq!(Proxy::from_url(&url).unwrap(), proxy);
    }
}
