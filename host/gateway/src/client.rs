//! Who is asking, and what for: the session, the tags and the time that a client names.
//!
//! Clients say it in the user name of `Proxy-Authorization`, in the way of the commercial providers:
//! `NAME-session-ID`, with `-sesstime-MINUTES` and any number of `-tag-NAME` behind it; or the session alone in a
//! header that the configuration names.

use std::collections::HashMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{HeaderMap, HeaderName, HeaderValue, PROXY_AUTHORIZATION};

use crate::password::{Busy, Inspector, Known, Secret, Unsure};

/// What a client says about its request beyond the target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wishes {
    /// The session.
    pub(crate) session: Option<String>,
    /// The tags that the proxy must carry.
    pub(crate) tags: Vec<String>,
    /// How long a session that begins now lasts, in milliseconds.
    pub(crate) ttl_ms: Option<u64>,
}

/// Why a client is not heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It has to say who it is, or is not who it says.
    Unknown,
    /// It is not clear what it wants.
    Malformed(&'static str),
    /// Too many others are being asked who they are.
    Busy,
}

impl From<Busy> for Refused {
    fn from(_: Busy) -> Self {
        Self::Busy
    }
}

/// The clients that are heard, and what each of them is heard by: `T`.
#[derive(Clone)]
pub struct Clients<T> {
    users: HashMap<String, User<T>>,
    /// What those are heard by who say nothing; `None`: all have to say who they are.
    everybody: Option<T>,
    session_header: Option<HeaderName>,
    /// Whether any of them had a hash.
    hashes: bool,
}

#[derive(Clone)]
struct User<T> {
    secret: Secret,
    by: T,
}

impl<T> fmt::Debug for Clients<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients")
            .field("users", &self.users.len())
            .field("session_header", &self.session_header)
            .finish_non_exhaustive()
    }
}

/// A client that has been heard, or is about to be.
pub(crate) struct Heard<T> {
    /// `None`: nobody of this name is known, and that is not to be noticed.
    by: Option<T>,
    user: Option<String>,
    wishes: Wishes,
    /// What is left to find out.
    unsure: Option<Unsure>,
}

impl<T> Heard<T> {
    fn anybody(by: &T, wishes: Wishes) -> Self
    where
        T: Clone,
    {
        Self {
            by: Some(by.clone()),
            user: None,
            wishes,
            unsure: None,
        }
    }

    /// By what it is heard and what it wants, if it is who it says.
    pub(crate) async fn sure(mut self, inspector: &Inspector) -> Result<(T, Wishes), Refused> {
        if let Some(unsure) = self.unsure.take()
            && !inspector.inspect(unsure).await?
        {
            return Err(Refused::Unknown);
        }
        self.at_once()
    }

    /// The same where nothing is left to find out.
    pub(crate) fn at_once(mut self) -> Result<(T, Wishes), Refused> {
        if self.unsure.is_some() {
            return Err(Refused::Unknown);
        }
        // What one user calls a session is nothing to another one.
        if let (Some(user), Some(id)) = (self.user, &mut self.wishes.session) {
            *id = format!("{user}/{id}");
        }
        let by = self.by.ok_or(Refused::Unknown)?;
        Ok((by, self.wishes))
    }
}

impl<T: Clone> Clients<T> {
    /// Everybody.
    pub fn everybody(by: T, session_header: Option<HeaderName>) -> Self {
        Self {
            everybody: Some(by),
            ..Self::nobody(session_header)
        }
    }

    /// Nobody, so far.
    pub(crate) fn nobody(session_header: Option<HeaderName>) -> Self {
        Self {
            users: HashMap::new(),
            everybody: None,
            session_header,
            hashes: false,
        }
    }

    /// By what a user of this name is heard.
    pub(crate) fn by(&self, name: &str) -> Option<&T> {
        self.users.get(name).map(|user| &user.by)
    }

    /// One more user.
    pub(crate) fn add(&mut self, name: String, secret: Secret, by: T) {
        self.hashes |= matches!(secret, Secret::Hashed(_));
        self.users.insert(name, User { secret, by });
    }

    /// Takes out the users of whom that holds.
    pub(crate) fn remove(&mut self, is_gone: impl Fn(&T) -> bool) {
        self.users.retain(|_, user| !is_gone(&user.by));
    }

    /// Takes what is meant for the gateway out of a request's headers, and says what it is.
    pub(crate) fn hear(
        &self,
        headers: &mut HeaderMap,
        inspector: &Inspector,
    ) -> Result<Heard<T>, Refused> {
        let mut heard = match (
            credentials(headers.get(PROXY_AUTHORIZATION)),
            &self.everybody,
        ) {
            (None, None) => return Err(Refused::Unknown),
            (None, Some(by)) => Heard::anybody(by, Wishes::default()),
            (Some((given, _)), Some(by)) => Heard::anybody(by, read(&given)?.1),
            (Some((given, password)), None) => self.user(&given, password, inspector)?,
        };
        let from_header = self.session_header.as_ref();
        if let Some(id) = from_header.and_then(|name| headers.remove(name)) {
            let id = id.to_str().map_err(|_| {
                Refused::Malformed("the session header's value is not printable ASCII")
            })?;
            heard.wishes.session = Some(id.to_owned());
        }
        Ok(heard)
    }

    fn user(
        &self,
        given: &str,
        password: String,
        inspector: &Inspector,
    ) -> Result<Heard<T>, Refused> {
        let (name, wishes) = read(given)?;
        let user = self.users.get(name);
        let secret = user.map(|user| &user.secret);
        let unsure = match inspector.know(name, password, secret, self.hashes) {
            Known::Right => None,
            Known::Wrong => return Err(Refused::Unknown),
            Known::Unsure(unsure) => Some(unsure),
        };
        Ok(Heard {
            by: user.map(|user| user.by.clone()),
            user: Some(name.to_owned()),
            wishes,
            unsure,
        })
    }
}

/// Whether a user name would be taken apart, so that it cannot be a client's name.
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

/// What a part of a user name stands before.
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

/// Takes a user name apart. What stands before the first word is the name; a value goes on to the next word, so
/// it may hold a `-`.
fn read(user: &str) -> Result<(&str, Wishes), Refused> {
    let mut wishes = Wishes::default();
    let mut words = Vec::new();
    let mut at = 0;
    for part in user.split('-') {
        // A word begins a value only where a value can follow, and a name before it.
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
            return Err(Refused::Malformed(empty));
        }
        match word {
            Word::Session => wishes.session = Some(value.to_owned()),
            Word::Tag => wishes.tags.push(value.to_owned()),
            Word::Minutes => {
                let minutes = value.parse::<u32>().ok().filter(|minutes| *minutes > 0);
                let minutes = minutes.ok_or(Refused::Malformed(
                    "what stands behind `-sesstime-` in the user name is not a number of minutes",
                ))?;
                wishes.ttl_ms = Some(u64::from(minutes) * 60_000);
            }
        }
    }
    Ok((user.get(..name_end).unwrap_or_default(), wishes))
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

    fn wishes(session: Option<&str>, tags: &[&str], minutes: Option<u64>) -> Wishes {
        Wishes {
            session: session.map(str::to_owned),
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            ttl_ms: minutes.map(|minutes| minutes * 60_000),
        }
    }

    #[test]
    fn a_user_name_says_the_session_its_time_and_the_tags() {
        for (user, name, wished) in [
            ("alice", "alice", wishes(None, &[], None)),
            ("alice-session-7", "alice", wishes(Some("7"), &[], None)),
            ("a-b-session-x-y", "a-b", wishes(Some("x-y"), &[], None)),
            (
                "customer-U-cc-DE-sessid-X-sesstime-10",
                "customer-U-cc-DE",
                wishes(Some("X"), &[], Some(10)),
            ),
            (
                "u-session-s-sesstime-5-tag-de-tag-mobile",
                "u",
                wishes(Some("s"), &["de", "mobile"], Some(5)),
            ),
            ("u-tag-de", "u", wishes(None, &["de"], None)),
            // No name before it, no value behind it: part of a name like any other.
            ("session-x", "session-x", wishes(None, &[], None)),
            ("u-session", "u-session", wishes(None, &[], None)),
        ] {
            assert_eq!(read(user), Ok((name, wished)), "{user}");
        }
        for user in [
            "u-session-",
            "u-tag--sesstime-5",
            "u-sesstime-x",
            "u-sesstime-0",
        ] {
            assert!(matches!(read(user), Err(Refused::Malformed(_))), "{user}");
        }
    }

    async fn hear(
        clients: &Clients<&'static str>,
        headers: &mut HeaderMap,
    ) -> Result<(&'static str, Wishes), Refused> {
        let inspector = Inspector::new().unwrap();
        clients.hear(headers, &inspector)?.sure(&inspector).await
    }

    #[tokio::test]
    async fn where_there_are_users_only_they_are_heard() {
        let mut clients = Clients::nobody(None);
        clients.add("alice".into(), Secret::Plain("s3cret".into()), "a");
        let hashed = password::hash("hashed-s3cret").unwrap();
        let hashed = Hashed::read(&hashed, MostCost::TENANT).unwrap();
        let mut both = clients.clone();
        both.add("carol".into(), Secret::Hashed(hashed), "c");
        for clients in [&clients, &both] {
            assert_eq!(
                hear(clients, &mut HeaderMap::new()).await,
                Err(Refused::Unknown)
            );
            for (name, password) in [
                ("alice", "wrong"),
                ("bob", ""),
                ("bob", "s3cret"),
                ("bob", "hashed-s3cret"),
                ("carol", "s3cret"),
            ] {
                let heard = hear(clients, &mut headers(name, password)).await;
                assert_eq!(heard, Err(Refused::Unknown), "{name}");
            }
            let heard = hear(clients, &mut headers("alice-session-7", "s3cret")).await;
            assert_eq!(heard, Ok(("a", wishes(Some("alice/7"), &[], None))));
        }
        let heard = hear(&both, &mut headers("carol-tag-de", "hashed-s3cret")).await;
        assert_eq!(heard, Ok(("c", wishes(None, &["de"], None))));
        assert!(!format!("{both:?}").contains("s3cret"));
    }

    #[tokio::test]
    async fn a_session_header_is_heard_and_taken_out() {
        let name = HeaderName::from_static("x-session-id");
        let clients = Clients::everybody("all", Some(name.clone()));
        let mut given = headers("anybody-session-7", "whatever");
        given.insert(name.clone(), HeaderValue::from_static("8"));
        let heard = hear(&clients, &mut given).await;
        assert_eq!(heard, Ok(("all", wishes(Some("8"), &[], None))));
        assert!(!given.contains_key(name));
    }
}
