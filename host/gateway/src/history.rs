//! What every request asked of the plugin and was told, for programs that check the rules on it: lines at level
//! `debug`, under a target of their own.

use remora_host::{Error, Outcome, ProxyHandle, Released};

/// Which attempt of which request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    /// Counted in each process.
    pub(crate) request: u64,
    /// Counted from 1.
    pub(crate) number: u32,
}

macro_rules! line {
    ($attempt:expr, $($fields:tt)*) => {
        tracing::debug!(
            target: "remora::history",
            request = $attempt.request,
            attempt = $attempt.number,
            $($fields)*
        )
    };
}

/// It asks for a proxy.
pub(crate) fn asks(attempt: Attempt, host: &str) {
    line!(attempt, host, "asks");
}

/// It gets one.
pub(crate) fn leased(attempt: Attempt, handle: &ProxyHandle) {
    line!(
        attempt,
        key = handle.session_key(),
        proxy = handle.proxy_url(),
        generation = handle.generation(),
        reason = %handle.reason(),
        probe = handle.is_probe(),
        // Here rather than above: it costs nothing where nobody listens.
        until = handle
            .session_expires_at()
            .map(|at| tracing::field::display(humantime::format_rfc3339_millis(at))),
        "leased"
    );
}

/// It gets none: by a decision, or because nobody decides.
pub(crate) fn refused(attempt: Attempt, error: &Error) {
    match error {
        Error::Storage(_) | Error::Plugin(_) => line!(attempt, %error, "unanswered"),
        _ => line!(attempt, %error, "refused"),
    }
}

/// It says how it went.
pub(crate) fn releases(attempt: Attempt, outcome: Outcome) {
    line!(attempt, outcome = outcome.name(), "releases");
}

/// That was heard, or got lost.
pub(crate) fn released(attempt: Attempt, released: &Result<Released, Error>) {
    match released {
        Ok(released) => line!(
            attempt,
            ended_session = released.ended_session,
            breaker = released.breaker.name(),
            "released"
        ),
        Err(error) => line!(attempt, %error, "unheard"),
    }
}
