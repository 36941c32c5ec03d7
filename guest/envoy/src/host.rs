//! Every call to Envoy.

use std::cell::Cell;
use std::rc::Rc;
use std::time::UNIX_EPOCH;

use proxy_wasm::hostcalls;
use proxy_wasm::types::{BufferType, LogLevel, MapType, MetricType};
use remora_http::{CONTENT_TYPE, ErrorResponse};

use crate::slots::SharedData;

/// Before anything else: panics are to be seen in the log.
pub(crate) fn start() {
    proxy_wasm::set_log_level(LogLevel::Info);
}

/// Writes a line to Envoy's log.
pub(crate) fn log_error(line: &str) {
    let _ = hostcalls::log(LogLevel::Error, line);
}

/// As [`log_error`], for what mends itself.
pub(crate) fn log_warning(line: &str) {
    let _ = hostcalls::log(LogLevel::Warn, line);
}

/// Milliseconds since the Unix epoch.
pub(crate) fn now() -> u64 {
    let time = hostcalls::get_current_time().ok();
    let since = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.map_or(0, |since| since.as_millis() as u64)
}

pub(crate) fn configuration() -> Vec<u8> {
    hostcalls::get_buffer(BufferType::PluginConfiguration, 0, usize::MAX)
        .ok()
        .flatten()
        .unwrap_or_default()
}

pub(crate) fn request_header(name: &str) -> Option<String> {
    let value = hostcalls::get_map_value_bytes(MapType::HttpRequestHeaders, name);
    String::from_utf8(value.ok().flatten()?).ok()
}

/// Replaces a request header, all of its values.
pub(crate) fn set_request_header(name: &str, value: &str) {
    let _ = hostcalls::set_map_value(MapType::HttpRequestHeaders, name, Some(value));
}

pub(crate) fn remove_request_header(name: &str) {
    let _ = hostcalls::remove_map_value(MapType::HttpRequestHeaders, name);
}

pub(crate) fn text(path: &[&str]) -> Option<String> {
    let value = hostcalls::get_property(path.to_vec()).ok().flatten()?;
    String::from_utf8(value).ok()
}

pub(crate) fn number(path: &[&str]) -> Option<u64> {
    let value = hostcalls::get_property(path.to_vec()).ok().flatten()?;
    Some(u64::from_le_bytes(value.try_into().ok()?))
}

/// Answers the request in Envoy's place.
pub(crate) fn respond(response: &ErrorResponse) {
    let proxy_status = response.proxy_status();
    let retry_after = response.retry_after().map(|seconds| seconds.to_string());
    let mut headers = vec![
        ("content-type", CONTENT_TYPE),
        ("proxy-status", &proxy_status),
    ];
    if let Some(seconds) = &retry_after {
        headers.push(("retry-after", seconds));
    }
    let (status, body) = (response.status.into(), response.body());
    let _ = hostcalls::send_http_response(status, headers, Some(body.as_bytes()));
}

/// Speaks of this stream from now on, until the callback ends. `false` when it is over.
pub(crate) fn enter(context: u32) -> bool {
    hostcalls::set_effective_context(context).is_ok()
}

pub(crate) fn counter(name: &str) -> Option<u32> {
    hostcalls::define_metric(MetricType::Counter, name).ok()
}

pub(crate) fn gauge(name: &str) -> Option<u32> {
    hostcalls::define_metric(MetricType::Gauge, name).ok()
}

pub(crate) fn increment(metric: u32, by: u64) {
    let _ = hostcalls::increment_metric(metric, by as i64);
}

pub(crate) fn record(metric: u32, value: u64) {
    let _ = hostcalls::record_metric(metric, value);
}

/// The data that all VMs with this filter's `vm_id` share.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shared {
    moment: Rc<Cell<u64>>,
}

impl Shared {
    /// A callback begins.
    pub(crate) fn begin(&self) {
        self.moment.set(self.moment.get() + 1);
    }
}

impl SharedData for Shared {
    fn get(&self, key: &[u8]) -> Option<(Vec<u8>, u32)> {
        let (value, cas) = hostcalls::get_shared_data(text_key(key)).ok()?;
        Some((value.unwrap_or_default(), cas?))
    }

    fn cas(&self, key: &[u8]) -> u32 {
        let found = hostcalls::get_shared_data(text_key(key)).ok();
        found.and_then(|(_, cas)| cas).unwrap_or(0)
    }

    fn set(&self, key: &[u8], value: &[u8], cas: u32) -> bool {
        #[cfg(feature = "trap")]
        if key.first() == Some(&remora_core::Table::Sessions.index()) {
            linger();
        }
        hostcalls::set_shared_data(text_key(key), Some(value), Some(cas)).is_ok()
    }

    fn moment(&self) -> u64 {
        self.moment.get()
    }
}

/// Gives the other workers time between the look at a session and its write: a race that is lost, is lost then.
#[cfg(feature = "trap")]
fn linger() {
    let begin = now();
    while now() < begin + 3 {}
}

/// The SDK wants a string; the slot table's keys are ASCII.
fn text_key(key: &[u8]) -> &str {
    core::str::from_utf8(key).unwrap_or_default()
}
