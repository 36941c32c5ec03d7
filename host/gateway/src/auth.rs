//! Authentication of clients, and the parameters of their requests: session, tags and time to live.
//!
//! The user name of `Proxy-Authorization` carries the parameters, as with the commercial providers:
//! `NAME-session-ID`, followed by `-sesstime-MINUTES` and any number of `-tag-NAME`. A header that the configuration
//! names can carry the session instead.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{HeaderMap, HeaderName, HeaderValue, PROXY_AUTHORIZATION};

use remora_config::shown;

use crate::password::{Busy, Inspector, Known, Secret, Unsure};

/// The parameters of a request beyond its target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RequestParams {
    /// The session.
    pub(crate) session: Option<String>,
    /// The tags that the proxy must carry.
    pub(crate) tags: Vec<String>,
    /// Time to live of a session that begins now, in milliseconds.
    pub(crate) ttl_ms: Option<u64>,
}

impl RequestParams {
    /// The tags, as a request takes them.
    pub(crate) fn tags(&self) -> Vec<&str> {
        self.tags.iter().map(String::as_str).collect()
    }
}

/// The rules for the parameters of requests.
#[derive(Clone, Debug)]
pub(crate) struct ParamRules {
    /// The header that carries the session instead of the user name.
    pub(crate) session_header: Option<HeaderName>,
    /// The longest time to live that a client may ask for.
    pub(crate) max_ttl: Duration,
}

impl Default for ParamRules {
    fn default() -> Self {
        Self {
            session_header: None,
            max_ttl: Duration::from_secs(24 * 60 * 60),
        }
    }
}

impl ParamRules {
    fn check(&self, params: &RequestParams) -> Result<(), AuthError> {
        let Some(ttl_ms) = params.ttl_ms else {
            return Ok(());
        };
        if params.session.is_none() {
            // It would be the time of a session that others share.
            let alone =
                "`-sesstime-` in the user name needs a session of the client's own: `-session-ID`";
            return Err(AuthError::Malformed(alone.into()));
        }
        if Duration::from_millis(ttl_ms) > self.max_ttl {
            let (minutes, most) = (ttl_ms / 60_000, shown(self.max_ttl));
            let long = format!(
                "`-sesstime-{minutes}` in the user name: longer than {most}, the most that `client.max_ttl` allows"
            );
            return Err(AuthError::Malformed(long.into()));
        }
        Ok(())
    }
}

/// Why a client is not authenticated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AuthError {
    /// Credentials are missing or wrong.
    Unknown,
    /// The parameters are malformed.
    Malformed(Cow<'static, str>),
    /// Too many passwords wait for verification.
    Busy,
}

impl From<Busy> for AuthError {
    fn from(_: Busy) -> Self {
        Self::Busy
    }
}

/// The users, each with a principal `T`.
#[derive(Clone)]
pub(crate) struct Users<T> {
    users: HashMap<String, User<T>>,
    /// The principal of every client where no authentication is required; `None`: it is required.
    open: Option<T>,
    rules: ParamRules,
    /// Whether any password is stored as a hash.
    hashes: bool,
}

#[derive(Clone)]
struct User<T> {
    secret: Secret,
    principal: T,
}

impl<T> fmt::Debug for Users<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users")
            .field("users", &self.users.len())
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}

/// A client whose password may have to be verified.
pub(crate) struct PendingAuth<T> {
    /// `None`: the name is unknown, which a client cannot tell from a wrong password.
    principal: Option<T>,
    user: Option<String>,
    params: RequestParams,
    /// The verification that is left to do.
    unverified: Option<Unsure>,
}

impl<T> PendingAuth<T> {
    fn open(principal: &T, params: RequestParams) -> Self
    where
        T: Clone,
    {
        Self {
            principal: Some(principal.clone()),
            user: None,
            params,
            unverified: None,
        }
    }

    /// The principal and the parameters of the request, once the password is verified.
    pub(crate) async fn verify(
        mut self,
        inspector: &Inspector,
    ) -> Result<(T, RequestParams), AuthError> {
        if let Some(unverified) = self.unverified.take()
            && !inspector.inspect(unverified).await?
        {
            return Err(AuthError::Unknown);
        }
        self.verified()
    }

    /// The same where no verification is left to do.
    pub(crate) fn verified(mut self) -> Result<(T, RequestParams), AuthError> {
        if self.unverified.is_some() {
            return Err(AuthError::Unknown);
        }
        // Session ids of different users are different sessions.
        if let (Some(user), Some(id)) = (self.user, &mut self.params.session) {
            *id = format!("{user}/{id}");
        }
        let principal = self.principal.ok_or(AuthError::Unknown)?;
        Ok((principal, self.params))
    }
}

impl<T: Clone> Users<T> {
    /// No authentication: every client has this principal.
    pub(crate) fn open(principal: T, rules: ParamRules) -> Self {
        Self {
            open: Some(principal),
            ..Self::new(rules)
        }
    }

    /// No users yet.
    pub(crate) fn new(rules: ParamRules) -> Self {
        Self {
            users: HashMap::new(),
            open: None,
            rules,
            hashes: false,
        }
    }

    /// The principal of a user.
    pub(crate) fn principal(&self, name: &str) -> Option<&T> {
        self.users.get(name).map(|user| &user.principal)
    }

    /// Adds a user, or replaces the one of this name.
    pub(crate) fn add(&mut self, name: String, secret: Secret, principal: T) {
        self.hashes |= matches!(secret, Secret::Hashed(_));
        self.users.insert(name, User { secret, principal });
    }

    /// Removes the users whose principal matches.
    pub(crate) fn remove(&mut self, matches: impl Fn(&T) -> bool) {
        self.users.retain(|_, user| !matches(&user.principal));
    }

    /// Takes credentials and session header out of a request's headers, and checks them.
    pub(crate) fn authenticate(
        &self,
        headers: &mut HeaderMap,
        inspector: &Inspector,
    ) -> Result<PendingAuth<T>, AuthError> {
        let given = credentials(headers.get(PROXY_AUTHORIZATION));
        let mut pending = match (given, &self.open) {
            (None, None) => return Err(AuthError::Unknown),
            (None, Some(principal)) => PendingAuth::open(principal, RequestParams::default()),
            (Some((given, _)), Some(principal)) => PendingAuth::open(principal, read(&given)?.1),
            (Some((given, password)), None) => self.user(&given, password, inspector)?,
        };
        let from_header = self.rules.session_header.as_ref();
        if let Some(id) = from_header.and_then(|name| headers.remove(name)) {
            let id = id.to_str().map_err(|_| {
                AuthError::Malformed("the session header's value is not printable ASCII".into())
            })?;
            pending.params.session = Some(id.to_owned());
        }
        self.rules.check(&pending.params)?;
        Ok(pending)
    }

    fn user(
        &self,
        given: &str,
        password: String,
        inspector: &Inspector,
    ) -> Result<PendingAuth<T>, AuthError> {
        let (name, params) = read(given)?;
        let user = self.users.get(name);
        let secret = user.map(|user| &user.secret);
        let unverified = match inspector.know(name, password, secret, self.hashes) {
            Known::Right => None,
            Known::Wrong => return Err(AuthError::Unknown),
            Known::Unsure(unsure) => Some(unsure),
        };
        Ok(PendingAuth {
            principal: user.map(|user| user.principal.clone()),
            user: Some(name.to_owned()),
            params,
            unverified,
        })
    }
}

/// Whether a user name carries parameters, so that it cannot be a user's name.
pub(crate) fn splits(user: &str) -> bool {
    read(user).map(|(name, _)| name) != Ok(user)
}

/// User name and password of a `Basic` header.
fn credentials(value: Option<&HeaderValue>) -> Option<(String, String)> {
    let (scheme, encoded) = value?.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = pair.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

/// A keyword in a user name; its value follows.
#[derive(Clone, Copy, PartialEq)]
enum Word {
    Session,
    Minutes,
    Tag,
}

impl Word {
    fn of(part: &str) -> Option<Self> {
        match part {
            "session" | "sessid" => Some(Self::Session),
            "sesstime" => Some(Self::Minutes),
            "tag" => Some(Self::Tag),
            _ => None,
        }
    }
}

/// Splits a user name into the name, which ends at the first keyword, and the parameters. A value ends at the next
/// keyword, so it may contain a `-`.
fn read(user: &str) -> Result<(&str, RequestParams), AuthError> {
    let mut params = RequestParams::default();
    let mut words = Vec::new();
    let mut at = 0;
    for part in user.split('-') {
        // A keyword needs a name before it and a value behind it.
        if at > 0
            && at + part.len() < user.len()
            && let Some(word) = Word::of(part)
        {
            words.push((word, at, at + part.len() + 1));
        }
        at += part.len() + 1;
    }
    let name_end = words.first().map_or(user.len(), |(_, start, _)| start - 1);
    for (i, (word, _, start)) in words.iter().enumerate() {
        let end = words.get(i + 1).map_or(user.len(), |(_, next, _)| next - 1);
        let value = user.get(*start..end).unwrap_or_default();
        if value.is_empty() {
            let empty =
                "nothing stands behind `-session-`, `-sesstime-` or `-tag-` in the user name";
            return Err(AuthError::Malformed(empty.into()));
        }
        // The last one would win, and its session be another one's.
        if *word != Word::Tag && words.iter().take(i).any(|(earlier, ..)| earlier == word) {
            let twice = "`-session-` (`-sessid-`) or `-sesstime-` stands twice in the user name";
            return Err(AuthError::Malformed(twice.into()));
        }
        match word {
            Word::Session => params.session = Some(value.to_owned()),
            Word::Tag => params.tags.push(value.to_owned()),
            Word::Minutes => {
                let minutes = value.parse::<u32>().ok().filter(|minutes| *minutes > 0);
                let minutes = minutes.ok_or(AuthError::Malformed(
                    "what stands behind `-sesstime-` in the user name is not a number of minutes"
                        .into(),
                ))?;
                params.ttl_ms = Some(u64::from(minutes) * 60_000);
            }
        }
    }
    Ok((user.get(..name_end).unwrap_or_default(), params))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::password::{self, Hashed, MostCost};

    fn headers(user: &str, password: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let value = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        headers.insert(PROXY_AUTHORIZATION, value.parse().unwrap());
        headers
    }

    fn params(session: Option<&str>, tags: &[&str], minutes: Option<u64>) -> RequestParams {
        RequestParams {
            session: session.map(str::to_owned),
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            ttl_ms: minutes.map(|minutes| minutes * 60_000),
        }
    }

    #[test]
    fn user_name_carries_session_ttl_and_tags() {
        for (user, name, expected) in [
            ("alice", "alice", params(None, &[], None)),
            ("alice-session-7", "alice", params(Some("7"), &[], None)),
            ("a-b-session-x-y", "a-b", params(Some("x-y"), &[], None)),
            (
                "customer-U-cc-DE-sessid-X-sesstime-10",
                "customer-U-cc-DE",
                params(Some("X"), &[], Some(10)),
            ),
            (
                "u-session-s-sesstime-5-tag-de-tag-mobile",
                "u",
                params(Some("s"), &["de", "mobile"], Some(5)),
            ),
            ("u-tag-de", "u", params(None, &["de"], None)),
            // No name before it, no value behind it: part of a name like any other.
            ("session-x", "session-x", params(None, &[], None)),
            ("u-session", "u-session", params(None, &[], None)),
        ] {
            assert_eq!(read(user), Ok((name, expected)), "{user}");
        }
        for user in [
            "u-session-",
            "u-tag--sesstime-5",
            "u-session-login-session-1",
            "u-session-1-sessid-2",
            "u-session-1-sesstime-5-tag-de-sesstime-5",
            "u-sesstime-x",
            "u-sesstime-0",
        ] {
            assert!(matches!(read(user), Err(AuthError::Malformed(_))), "{user}");
        }
    }

    async fn authenticate(
        users: &Users<&'static str>,
        headers: &mut HeaderMap,
    ) -> Result<(&'static str, RequestParams), AuthError> {
        let inspector = Inspector::new().unwrap();
        let pending = users.authenticate(headers, &inspector)?;
        pending.verify(&inspector).await
    }

    #[tokio::test]
    async fn only_users_are_authenticated() {
        let mut users = Users::new(ParamRules::default());
        users.add("alice".into(), Secret::Plain("s3cret".into()), "a");
        let hashed = password::hash("hashed-s3cret").unwrap();
        let hashed = Hashed::read(&hashed, MostCost::TENANT).unwrap();
        let mut both = users.clone();
        both.add("carol".into(), Secret::Hashed(hashed), "c");
        for users in [&users, &both] {
            assert_eq!(
                authenticate(users, &mut HeaderMap::new()).await,
                Err(AuthError::Unknown)
            );
            for (name, password) in [
                ("alice", "wrong"),
                ("bob", ""),
                ("bob", "s3cret"),
                ("bob", "hashed-s3cret"),
                ("carol", "s3cret"),
            ] {
                let authenticated = authenticate(users, &mut headers(name, password)).await;
                assert_eq!(authenticated, Err(AuthError::Unknown), "{name}");
            }
            let authenticated =
                authenticate(users, &mut headers("alice-session-7", "s3cret")).await;
            assert_eq!(authenticated, Ok(("a", params(Some("alice/7"), &[], None))));
        }
        let authenticated =
            authenticate(&both, &mut headers("carol-tag-de", "hashed-s3cret")).await;
        assert_eq!(authenticated, Ok(("c", params(None, &["de"], None))));
        assert!(!format!("{both:?}").contains("s3cret"));
    }

    #[tokio::test]
    async fn session_header_is_read_and_removed() {
        let name = HeaderName::from_static("x-session-id");
        let rules = ParamRules {
            session_header: Some(name.clone()),
            ..ParamRules::default()
        };
        let users = Users::open("all", rules);
        let mut given = headers("anybody-session-7", "whatever");
        given.insert(name.clone(), HeaderValue::from_static("8"));
        let authenticated = authenticate(&users, &mut given).await;
        assert_eq!(authenticated, Ok(("all", params(Some("8"), &[], None))));
        assert!(!given.contains_key(name));
    }

    #[tokio::test]
    async fn time_of_a_client_needs_a_session_of_its_own_and_is_limited() {
        let name = HeaderName::from_static("x-session-id");
        let rules = ParamRules {
            session_header: Some(name.clone()),
            max_ttl: Duration::from_secs(600),
        };
        let users = Users::open("all", rules);
        let ask = async |user: &str, header: Option<&'static str>| {
            let mut given = headers(user, "x");
            if let Some(id) = header {
                given.insert(name.clone(), HeaderValue::from_static(id));
            }
            authenticate(&users, &mut given).await
        };
        let accepted = |id| Ok(("all", params(Some(id), &[], Some(10))));
        assert_eq!(ask("u-session-7-sesstime-10", None).await, accepted("7"));
        assert_eq!(ask("u-sesstime-10", Some("8")).await, accepted("8"));
        for (user, said) in [
            ("u-sesstime-10", "`-session-ID`"),
            ("u-tag-de-sesstime-10", "`-session-ID`"),
            ("u-session-7-sesstime-11", "longer than 10m"),
            ("u-session-7-sesstime-4294967295", "`client.max_ttl`"),
        ] {
            match ask(user, None).await {
                Err(AuthError::Malformed(line)) => assert!(line.contains(said), "{line}"),
                other => panic!("{user}: {other:?}"),
            }
        }
    }
}
