//! Rule 1: what a session is keyed by.
//!
//! A session key reads like the end of a URL: `host`, then `?tag&tag` when the request asks for
//! tags, then `#id` when the client names its session. `?` and `#` cannot be part of a host, so two
//! different requests never share a key by accident.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;
use core::net::Ipv6Addr;

use crate::error::KeyError;
use crate::sorted;

/// The longest host accepted, in bytes: the limit of a domain name in text form (RFC 1035 §2.3.4).
pub const MAX_HOST_LEN: usize = 253;
/// The longest session id accepted, in bytes.
pub const MAX_SESSION_ID_LEN: usize = 128;
/// The longest tag accepted, in bytes.
pub const MAX_TAG_LEN: usize = 64;
/// The longest session key, in bytes.
const MAX_SESSION_KEY_LEN: usize = 512;
/// The longest key that the core ever stores, in bytes: a proxy id, a port, a host and a session key, apart by two slashes.
pub const MAX_KEY_LEN: usize = 36 + 1 + 5 + 1 + MAX_HOST_LEN + MAX_SESSION_KEY_LEN;

/// What requests share one session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Scope {
    /// The target host, together with the client's session id if it sends one.
    #[default]
    Host,
    /// The target's registrable domain by the public suffix list, together with the client's
    /// session id if it sends one.
    Site,
    /// The client's session id alone, whatever the target. A request without one does not stick.
    Session,
}

/// A normalised session key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SessionKey(String);

impl SessionKey {
    /// Reads a whole key, `host[?tag&tag][#id]`, and normalises its host.
    ///
    /// # Errors
    ///
    /// [`KeyError`] when a part is malformed or nothing is there.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let (rest, id) = match text.split_once('#') {
            Some((rest, id)) => (rest, Some(id)),
            None => (text, None),
        };
        let (host, tags) = match rest.split_once('?') {
            Some((host, tags)) => (host, Some(tags)),
            None => (rest, None),
        };
        let mut key = String::new();
        if !host.is_empty() || id.is_none() {
            push_host(&mut key, host)?;
        }
        let tags: alloc::vec::Vec<&str> = tags.map(|t| t.split('&').collect()).unwrap_or_default();
        push_tags(&mut key, &tags)?;
        if let Some(id) = id {
            push_session_id(&mut key, id)?;
        }
        Ok(Self(key))
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key as text, owned.
    pub fn into_string(self) -> String {
        self.0
    }
}

/// Whether a lease's key could have come out of this module. A lease comes back from the host, so
/// what it holds is checked before it reaches storage.
pub(crate) fn is_well_formed(key: &str) -> bool {
    key.len() <= MAX_SESSION_KEY_LEN && is_storage_key(key)
}

/// Whether a storage accepts this key: 1 to [`MAX_KEY_LEN`] bytes of printable ASCII without spaces.
pub fn is_storage_key(key: &str) -> bool {
    (1..=MAX_KEY_LEN).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic())
}

/// Appends the normalised host of `target` (`host`, `host:port`, `[v6]`, `[v6]:port` or a bare IPv6
/// address).
pub(crate) fn push_host(out: &mut String, target: &str) -> Result<(), KeyError> {
    // What most targets are already; the rest of this function would leave it as it is.
    if target.len() <= MAX_HOST_LEN
        && target
            .bytes()
            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.'))
        && !matches!(target.as_bytes().last(), None | Some(b'.'))
    {
        out.push_str(target);
        return Ok(());
    }
    if let Some(rest) = target.strip_prefix('[') {
        let (address, port) = rest.split_once(']').ok_or(KeyError::Port)?;
        if !port.is_empty() {
            check_port(port.strip_prefix(':').ok_or(KeyError::Port)?)?;
        }
        return push_ipv6(out, address);
    }
    let host = match target.split_once(':') {
        None => target,
        Some((_, more)) if more.contains(':') => return push_ipv6(out, target),
        Some((host, port)) => {
            check_port(port)?;
            host
        }
    };
    let host = host.trim_end_matches('.');
    if host.is_empty() {
        return Err(KeyError::Empty);
    }
    if host.len() > MAX_HOST_LEN {
        return Err(too_long(MAX_HOST_LEN));
    }
    check_bytes(host, b"/?#@\\[]")?;
    out.extend(host.chars().map(|c| c.to_ascii_lowercase()));
    Ok(())
}

/// Appends `?tag&tag`, sorted and without repeats, so that the order a client names them in does not
/// matter.
pub(crate) fn push_tags(out: &mut String, tags: &[&str]) -> Result<(), KeyError> {
    let mut ordered = Vec::new();
    for tag in tags {
        check_tag(tag)?;
        sorted::insert(&mut ordered, *tag);
        if ordered.len() > MAX_SESSION_KEY_LEN {
            return Err(too_long(MAX_SESSION_KEY_LEN));
        }
    }
    for (i, tag) in ordered.iter().enumerate() {
        out.push(if i == 0 { '?' } else { '&' });
        out.push_str(tag);
    }
    check_len(out)
}

/// Appends `#id`.
pub(crate) fn push_session_id(out: &mut String, id: &str) -> Result<(), KeyError> {
    if id.is_empty() {
        return Err(KeyError::Empty);
    }
    if id.len() > MAX_SESSION_ID_LEN {
        return Err(too_long(MAX_SESSION_ID_LEN));
    }
    check_bytes(id, b"")?;
    out.push('#');
    out.push_str(id);
    check_len(out)
}

/// Whether `tag` may stand on a proxy or in a request.
pub(crate) fn check_tag(tag: &str) -> Result<(), KeyError> {
    if tag.is_empty() {
        return Err(KeyError::Empty);
    }
    if tag.len() > MAX_TAG_LEN {
        return Err(too_long(MAX_TAG_LEN));
    }
    check_bytes(tag, b"&#?")
}

/// The registrable domain of a normalised host, or the host itself where there is none (an address,
/// a public suffix, a single label).
#[cfg(feature = "public-suffix-list")]
pub(crate) fn site(host: &str) -> &str {
    if is_address(host) {
        return host;
    }
    psl::domain_str(host).unwrap_or(host)
}

/// The site of a normalised host, or what comes near it without the public suffix list: its last two labels.
pub(crate) fn site_or_last_labels(host: &str) -> &str {
    #[cfg(feature = "public-suffix-list")]
    return site(host);
    #[cfg(not(feature = "public-suffix-list"))]
    if is_address(host) {
        return host;
    }
    #[cfg(not(feature = "public-suffix-list"))]
    host.rmatch_indices('.')
        .nth(1)
        .map_or(host, |(dot, _)| &host[dot + 1..])
}

fn is_address(host: &str) -> bool {
    host.contains(':') || host.parse::<core::net::Ipv4Addr>().is_ok()
}

/// The port that a valid target names; 0 for none.
pub(crate) fn port(target: &str) -> u16 {
    let port = match target.rsplit_once(':') {
        // The last part of an address without brackets.
        Some((address, _)) if address.contains(':') && !address.ends_with(']') => "",
        Some((_, port)) => port,
        None => "",
    };
    port.parse().unwrap_or(0)
}

/// The tags of a session key.
pub(crate) fn tags_of(key: &str) -> impl Iterator<Item = &str> {
    let before_id = key.split('#').next().unwrap_or_default();
    let tags = before_id.split_once('?').map(|(_, tags)| tags.split('&'));
    tags.into_iter().flatten()
}

fn push_ipv6(out: &mut String, text: &str) -> Result<(), KeyError> {
    let address: Ipv6Addr = text.parse().map_err(|_| KeyError::Port)?;
    // The canonical form of RFC 5952, so that `::1` and `0:0::1` are one key.
    let _ = write!(out, "{address}");
    Ok(())
}

fn check_port(port: &str) -> Result<(), KeyError> {
    if port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit()) {
        Ok(())
    } else {
        Err(KeyError::Port)
    }
}

fn check_bytes(text: &str, forbidden: &[u8]) -> Result<(), KeyError> {
    for (position, byte) in text.bytes().enumerate() {
        // Lengths are checked first, so a position fits.
        let position = position as u32;
        if !byte.is_ascii() {
            return Err(KeyError::NotAscii { position });
        }
        if !byte.is_ascii_graphic() || forbidden.contains(&byte) {
            return Err(KeyError::Forbidden { byte, position });
        }
    }
    Ok(())
}

fn check_len(key: &str) -> Result<(), KeyError> {
    if key.len() > MAX_SESSION_KEY_LEN {
        return Err(too_long(MAX_SESSION_KEY_LEN));
    }
    Ok(())
}

fn too_long(limit: usize) -> KeyError {
    KeyError::TooLong {
        limit: limit as u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use proptest::prelude::*;

    fn host(target: &str) -> Result<String, KeyError> {
        let mut out = String::new();
        push_host(&mut out, target)?;
        Ok(out)
    }

    #[test]
    fn storage_key_is_1_to_808_bytes_of_printable_ascii_without_spaces() {
        let key = |length: usize| "k".repeat(length);
        assert!(is_storage_key("shop.example?de#alice"));
        assert!(is_storage_key(&key(MAX_KEY_LEN)));
        for wrong in ["", "a b", "a\nb", "\u{7f}", "é", &key(MAX_KEY_LEN + 1)] {
            assert!(!is_storage_key(wrong), "{wrong}");
        }
    }

    #[test]
    fn a_host_is_lower_case_without_port_dot_and_brackets() {
        for (target, key) in [
            ("Shop.Example.COM.:443", "shop.example.com"),
            ("shop.example.com:", "shop.example.com"),
            ("LOCALHOST", "localhost"),
            ("[::1]:8080", "::1"),
            ("[2001:DB8::0:1]", "2001:db8::1"),
            ("2001:db8:0::1", "2001:db8::1"),
            ("192.0.2.7:80", "192.0.2.7"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ] {
            assert_eq!(host(target), Ok(key.to_string()), "{target}");
        }
    }

    #[test]
    fn a_malformed_target_is_a_typed_error() {
        let long = "a".repeat(254);
        for (target, error) in [
            ("", KeyError::Empty),
            ("...", KeyError::Empty),
            (":443", KeyError::Empty),
            (long.as_str(), KeyError::TooLong { limit: 253 }),
            (
                "a\u{7}b",
                KeyError::Forbidden {
                    byte: 7,
                    position: 1,
                },
            ),
            (
                "a b",
                KeyError::Forbidden {
                    byte: b' ',
                    position: 1,
                },
            ),
            (
                "shop.example/login",
                KeyError::Forbidden {
                    byte: b'/',
                    position: 12,
                },
            ),
            (
                "user@shop.example",
                KeyError::Forbidden {
                    byte: b'@',
                    position: 4,
                },
            ),
            ("b\u{fc}cher.example", KeyError::NotAscii { position: 1 }),
            ("shop.example:https", KeyError::Port),
            ("shop.example:123456", KeyError::Port),
            ("1:2:3", KeyError::Port),
            ("[::1", KeyError::Port),
            ("[::1]443", KeyError::Port),
        ] {
            assert_eq!(host(target), Err(error), "{target:?}");
        }
        assert_eq!(host(&"a".repeat(253)).map(|k| k.len()), Ok(253));
    }

    #[test]
    fn tags_are_a_set_and_the_id_keeps_its_case() {
        let key = SessionKey::parse("Shop.Example?de&residential&de#Alice").unwrap();
        assert_eq!(key.as_str(), "shop.example?de&residential#Alice");
        assert_eq!(SessionKey::parse("#Alice").unwrap().as_str(), "#Alice");
        assert_eq!(SessionKey::parse("#"), Err(KeyError::Empty));
        assert_eq!(SessionKey::parse("shop.example?"), Err(KeyError::Empty));
    }

    #[test]
    fn port_is_what_stands_behind_the_host() {
        for (target, expected) in [
            ("a.example:443", 443),
            ("a.example", 0),
            ("a.example:", 0),
            ("[::1]:8080", 8080),
            ("[::1]", 0),
            ("::1", 0),
            ("a.example:99999", 0),
        ] {
            assert_eq!(port(target), expected, "{target}");
        }
    }

    #[test]
    fn tags_of_a_key_are_those_it_was_made_of() {
        for (key, tags) in [
            ("a.example?de&eu#x?y&z", &["de", "eu"][..]),
            ("a.example#x", &[]),
            ("?de#x", &["de"]),
            ("", &[]),
        ] {
            assert!(tags_of(key).eq(tags.iter().copied()), "{key}");
        }
    }

    #[cfg(feature = "public-suffix-list")]
    #[test]
    fn a_site_is_the_registrable_domain() {
        for (host, expected) in [
            ("a.b.example.co.uk", "example.co.uk"),
            ("example.com", "example.com"),
            ("alice.github.io", "alice.github.io"),
            ("co.uk", "co.uk"),
            ("localhost", "localhost"),
            ("192.0.2.7", "192.0.2.7"),
            ("::1", "::1"),
        ] {
            assert_eq!(site(host), expected);
        }
    }

    proptest! {
        #[test]
        fn a_normalised_host_stays_as_it_is(target in "\\PC{0,40}") {
            if let Ok(key) = host(&target) {
                prop_assert_eq!(host(&key), Ok(key.clone()));
                prop_assert!(is_well_formed(&key));
                prop_assert_eq!(SessionKey::parse(&key).unwrap().into_string(), key);
            }
        }

        #[test]
        fn case_port_and_trailing_dot_make_no_difference(
            name in "[a-z0-9-]{1,20}(\\.[a-z0-9-]{1,20}){0,5}", port in 0u16..
        ) {
            let same = alloc::format!("{}.:{port}", name.to_ascii_uppercase());
            prop_assert_eq!(host(&same), Ok(name));
        }
    }
}
