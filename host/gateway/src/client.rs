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
use subtle::ConstantTimeEq;

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
}

/// The clients that are heard.
#[derive(Clone, Default)]
pub struct Clients {
    /// Name and password; none: everybody is heard.
    users: HashMap<String, String>,
    session_header: Option<HeaderName>,
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients")
            .field("users", &self.users.keys())
            .field("session_header", &self.session_header)
            .finish()
    }
}

impl Clients {
    /// Those with these names and passwords; everybody, if there are none.
    pub fn new(users: HashMap<String, String>, session_header: Option<HeaderName>) -> Self {
        Self {
            users,
            session_header,
        }
    }

    /// Whether a user name would be taken apart, so that it cannot be a client's name.
    pub(crate) fn splits(user: &str) -> bool {
        read(user).map(|(name, _)| name) != Ok(user)
    }

    /// Takes what is meant for the gateway out of a request's headers, and says what it is.
    pub(crate) fn hear(&self, headers: &mut HeaderMap) -> Result<Wishes, Refused> {
        let mut user = None;
        let mut wishes = match credentials(headers.get(PROXY_AUTHORIZATION)) {
            Some((given, password)) => {
                let (name, wishes) = read(&given)?;
                if !self.knows(name, &password) {
                    return Err(Refused::Unknown);
                }
                user = (!self.users.is_empty()).then(|| name.to_owned());
                wishes
            }
            None if self.users.is_empty() => Wishes::default(),
            None => return Err(Refused::Unknown),
        };
        if let Some(name) = &self.session_header
            && let Some(id) = headers.remove(name)
        {
            let id = id.to_str().map_err(|_| {
                Refused::Malformed("the session header's value is not printable ASCII")
            })?;
            wishes.session = Some(id.to_owned());
        }
        // What one user calls a session is nothing to another one.
        if let (Some(user), Some(id)) = (user, &mut wishes.session) {
            *id = format!("{user}/{id}");
        }
        Ok(wishes)
    }

    fn knows(&self, name: &str, password: &str) -> bool {
        if self.users.is_empty() {
            return true;
        }
        // Compared even where the name is not known, so that a wrong name is not refused sooner than a wrong password.
        let known = self.users.get(name);
        let expected = known.map_or("", String::as_str);
        let same: bool = expected.as_bytes().ct_eq(password.as_bytes()).into();
        same && known.is_some()
    }
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

    #[test]
    fn where_there_are_users_only_they_are_heard() {
        let users = HashMap::from([("alice".into(), "s3cret".into())]);
        let clients = Clients::new(users, None);
        let hear = |mut headers: HeaderMap| clients.hear(&mut headers);
        assert_eq!(hear(HeaderMap::new()), Err(Refused::Unknown));
        assert_eq!(hear(headers("alice", "wrong")), Err(Refused::Unknown));
        assert_eq!(hear(headers("bob", "")), Err(Refused::Unknown));
        assert_eq!(hear(headers("bob", "s3cret")), Err(Refused::Unknown));
        let heard = hear(headers("alice-session-7", "s3cret"));
        assert_eq!(heard, Ok(wishes(Some("alice/7"), &[], None)));
        assert!(!format!("{clients:?}").contains("s3cret"));
    }

    #[test]
    fn a_session_header_is_heard_and_taken_out() {
        let name = HeaderName::from_static("x-session-id");
        let clients = Clients::new(HashMap::new(), Some(name.clone()));
        let mut given = headers("anybody-session-7", "whatever");
        given.insert(name.clone(), HeaderValue::from_static("8"));
        assert_eq!(clients.hear(&mut given), Ok(wishes(Some("8"), &[], None)));
        assert!(!given.contains_key(name));
    }
}
