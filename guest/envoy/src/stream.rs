//! One request: a lease at its beginning, the release at its end.

use std::rc::Rc;

use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;
use remora_core::{AcquireError, Request};
use remora_http::ErrorResponse;

use crate::host;
use crate::outcome::Logged;
use crate::plugin::{Leased, Plugin};
use crate::steering::HEADER;

pub(crate) struct Stream {
    /// Envoy's number for it.
    id: u32,
    plugin: Option<Rc<Plugin>>,
    leased: Option<Leased>,
    target: String,
    tunnel: bool,
}

impl Stream {
    pub(crate) fn new(id: u32, plugin: Option<Rc<Plugin>>) -> Self {
        Self {
            id,
            plugin,
            leased: None,
            target: String::new(),
            tunnel: false,
        }
    }

    fn acquire(&mut self, plugin: &Plugin, is_bodyless: bool) -> Result<String, AcquireError> {
        let session = plugin.session_header.as_deref().and_then(|name| {
            let session = host::request_header(name)?;
            host::remove_request_header(name);
            Some(session)
        });
        let request = Request {
            target: &self.target,
            session: session.as_deref(),
            // Envoy sends nothing of a tunnel before it is open, and a request without a body as often as its route says.
            is_repeatable: is_bodyless || self.tunnel,
            ..Request::default()
        };
        let (leased, list) = plugin.acquire(&request)?;
        if leased.fallbacks.len() < plugin.attempts {
            // As many retries as there are fallbacks: a retry without one would end without any proxy's name.
            let retries = leased.fallbacks.len().to_string();
            host::set_request_header("x-envoy-max-retries", &retries);
        }
        self.leased = Some(leased);
        Ok(list)
    }
}

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _count: usize, end_of_stream: bool) -> Action {
        let Some(plugin) = self.plugin.clone() else {
            return Action::Continue;
        };
        self.target = host::request_header(":authority").unwrap_or_default();
        #[cfg(feature = "trap")]
        assert!(!self.target.starts_with("trap."), "asked to trap");
        // A tunnel's request has no end: the rest need not be asked.
        self.tunnel = !end_of_stream
            && host::request_header(":method").is_some_and(|method| method == "CONNECT");
        match self.acquire(&plugin, end_of_stream) {
            Ok(list) => {
                host::set_request_header(HEADER, &list);
                if self.tunnel {
                    plugin.awaits_answer(self.id);
                }
                Action::Continue
            }
            Err(error) => {
                host::respond(&ErrorResponse::from(error));
                Action::Pause
            }
        }
    }

    fn on_log(&mut self) {
        let (Some(plugin), Some(leased)) = (&self.plugin, self.leased.take()) else {
            return;
        };
        let details = host::text(&["response", "code_details"]).unwrap_or_default();
        let status = host::number(&["response", "code"]).unwrap_or(0);
        let bytes = |path| self.tunnel && host::number(path).unwrap_or(0) > 0;
        let logged = Logged {
            status: status.try_into().unwrap_or(0),
            details: &details,
            tunnel: self.tunnel,
            sent: bytes(&["request", "size"]),
            received: bytes(&["response", "size"]),
        };
        let end = logged.attempt_end();
        let outcome = end.outcome(&plugin.statuses, &self.target);
        let served = if leased.fallbacks.is_empty() {
            None
        } else {
            host::text(&["upstream", "address"])
        };
        plugin.release(&leased, &self.target, served.as_deref(), outcome);
    }
}
