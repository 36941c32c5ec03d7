//! `remora hash-password`

use std::io::{IsTerminal, stdin};

use crate::password;
use crate::stdout::{Failure, say};

/// Reads a password and writes its hash, which is all that is left of it.
pub(super) fn hash_password() -> Result<(), Failure> {
    let password = if stdin().is_terminal() {
        let password = rpassword::prompt_password("Password: ")?;
        if rpassword::prompt_password("Once more: ")? != password {
            return Err("the two are not the same".into());
        }
        password
    } else {
        let mut line = String::new();
        stdin().read_line(&mut line)?;
        line.trim_end_matches(['\r', '\n']).to_owned()
    };
    if password.is_empty() {
        return Err("the password is empty; give it on the standard input".into());
    }
    let hash = password::hash(&password).map_err(|error| error.to_string())?;
    Ok(say(hash)?)
}
