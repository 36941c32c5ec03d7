//! What is sent to the server: a command, or a script that runs inside it.

use std::sync::LazyLock;

use redis::aio::ConnectionLike;
use redis::{Arg, Cmd, ErrorKind, RedisError, ServerErrorKind, Value};

use super::connection::Connection;

/// A script, and the name under which a server that has seen it knows it.
pub(super) struct Script {
    text: &'static str,
    hash: LazyLock<String>,
}

macro_rules! script {
    ($name:ident, $file:literal) => {
        pub(super) static $name: Script = Script {
            text: include_str!($file),
            hash: LazyLock::new(|| {
                redis::Script::new(include_str!($file))
                    .get_hash()
                    .to_owned()
            }),
        };
    };
}

script!(EXCHANGE, "exchange.lua");
script!(FIRST_TO_EXPIRE, "first_to_expire.lua");
script!(SCAN, "scan.lua");
script!(LOOK, "look.lua");

/// Something to send, once or more often.
pub(super) struct Call {
    command: Cmd,
    /// The text of the script that the command names.
    script: Option<&'static str>,
    changes: bool,
}

impl From<Cmd> for Call {
    fn from(command: Cmd) -> Self {
        Self {
            command,
            script: None,
            changes: false,
        }
    }
}

impl Script {
    pub(super) fn call(&self, keys: &[&str], arguments: &[&[u8]]) -> Call {
        let mut command = redis::cmd("EVALSHA");
        command.arg(&*self.hash).arg(keys.len()).arg(keys);
        for argument in arguments {
            command.arg(*argument);
        }
        Call {
            command,
            script: Some(self.text),
            changes: false,
        }
    }
}

impl Call {
    /// What is sent is a change.
    pub(super) fn changing(self) -> Self {
        Self {
            changes: true,
            ..self
        }
    }

    pub(super) fn changes(&self) -> bool {
        self.changes
    }

    /// Sends it. One round trip; two for a script that the server has not seen yet.
    pub(super) async fn send(&self, connection: &mut Connection) -> Result<Value, RedisError> {
        let answer = connection.req_packed_command(&self.command).await;
        let answer = answer.and_then(Value::extract_error);
        match (answer, self.script) {
            (Err(error), Some(text)) if is_unknown(&error) => {
                let whole = self.with_text(text);
                let answer = connection.req_packed_command(&whole).await;
                answer.and_then(Value::extract_error)
            }
            (answer, _) => answer,
        }
    }

    /// The same with the script itself in the place of its name.
    fn with_text(&self, text: &str) -> Cmd {
        let mut whole = redis::cmd("EVAL");
        whole.arg(text);
        for argument in self.command.args_iter().skip(2) {
            if let Arg::Simple(argument) = argument {
                whole.arg(argument);
            }
        }
        whole
    }
}

fn is_unknown(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}
