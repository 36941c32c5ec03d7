//! `[[user]]`: who is heard, and what shows that it is them.

use std::collections::HashMap;

use super::error::{BuildError, field};
use super::listener::User;
use crate::auth;
use crate::password::{Hashed, MostCost, Secret};

/// How the password of a user may stand in a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Passwords {
    /// As it is, or as a hash.
    Any,
    /// As a hash: a tenant's file may pass through many hands.
    Hashed,
}

/// Every user's name and secret; no name twice.
pub(super) fn secrets(
    users: &[User],
    passwords: Passwords,
    errors: &mut Vec<BuildError>,
) -> HashMap<String, Secret> {
    let mut secrets = HashMap::new();
    for (i, user) in users.iter().enumerate() {
        let name = at(i, "name");
        let plain = |b: u8| b.is_ascii_graphic() && !b":/".contains(&b);
        if !(1..=64).contains(&user.name.len()) || !user.name.bytes().all(plain) {
            let accepted = "1 to 64 bytes of printable ASCII without spaces, `:` and `/`";
            errors.push(field(&name, &user.name, accepted));
        } else if auth::splits(&user.name) {
            let accepted = "a name without `-session-`, `-sessid-`, `-sesstime-` and `-tag-`: what stands \
                            behind them is not a part of it";
            errors.push(field(&name, &user.name, accepted));
        }
        match secret(user, i, passwords) {
            Err(error) => errors.push(error),
            Ok(secret) => {
                if secrets.insert(user.name.clone(), secret).is_some() {
                    errors.push(field(name, &user.name, "each name once"));
                }
            }
        }
    }
    secrets
}

fn secret(user: &User, i: usize, passwords: Passwords) -> Result<Secret, BuildError> {
    match (&user.password, &user.password_hash) {
        (None, Some(hash)) => {
            let (most, accepted) = match passwords {
                Passwords::Any => (
                    MostCost::OPERATOR,
                    "what `remora hash-password` writes: an argon2 hash that begins with `$argon2`, of up to 256 \
                     MiB, 16 passes and 16 lanes, with a salt of at least 8 bytes",
                ),
                Passwords::Hashed => (
                    MostCost::TENANT,
                    "what `remora hash-password` writes: an argon2 hash that begins with `$argon2`, of up to 64 \
                     MiB, 4 passes and 4 lanes, with a salt of at least 8 bytes",
                ),
            };
            let hashed = Hashed::read(&hash.0, most);
            let hashed = hashed.ok_or_else(|| field(at(i, "password_hash"), "…", accepted))?;
            Ok(Secret::Hashed(hashed))
        }
        (Some(_), _) if passwords == Passwords::Hashed => {
            let accepted = "left out for a tenant's user: `password_hash` stands there instead, as `remora \
                            hash-password` writes it";
            Err(field(at(i, "password"), "…", accepted))
        }
        // One that a variable left empty would let in everybody who knows a name.
        (Some(password), None) if password.0.is_empty() => {
            Err(field(at(i, "password"), "empty", "at least a character"))
        }
        (Some(password), None) => Ok(Secret::Plain(password.0.clone())),
        (Some(_), Some(_)) => {
            let accepted = "left out where there is a `password`";
            Err(field(at(i, "password_hash"), "…", accepted))
        }
        (None, None) => {
            let accepted = match passwords {
                Passwords::Any => "a password, or a `password_hash`",
                Passwords::Hashed => "set: what `remora hash-password` writes",
            };
            let name = match passwords {
                Passwords::Any => "password",
                Passwords::Hashed => "password_hash",
            };
            Err(field(at(i, name), "not set", accepted))
        }
    }
}

fn at(i: usize, name: &str) -> String {
    format!("user[{i}].{name}")
}
