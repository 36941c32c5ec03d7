//! Envoy's shared data with its own rules for the CAS.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use remora_envoy::slots::SharedData;

/// As in proxy-wasm-cpp-host's `src/shared_data.cc`: a CAS of 0 overwrites, and on an absent key any CAS succeeds.
#[derive(Clone, Debug, Default)]
pub struct Model(Arc<Mutex<Values>>, Arc<AtomicU64>);

#[derive(Debug, Default)]
struct Values {
    values: HashMap<Vec<u8>, (Vec<u8>, u32)>,
    last: u32,
}

impl Model {
    /// How many keys there are, and how many bytes in all of their values.
    #[allow(dead_code)]
    pub fn size(&self) -> (usize, usize) {
        let data = self.0.lock().unwrap();
        let bytes = data.values.values().map(|(value, _)| value.len()).sum();
        (data.values.len(), bytes)
    }
}

impl SharedData for Model {
    fn get(&self, key: &[u8]) -> Option<(Vec<u8>, u32)> {
        self.0.lock().unwrap().values.get(key).cloned()
    }

    fn cas(&self, key: &[u8]) -> u32 {
        self.get(key).map_or(0, |(_, cas)| cas)
    }

    fn set(&self, key: &[u8], value: &[u8], cas: u32) -> bool {
        // Between a get and its set others have their turn.
        thread::yield_now();
        let mut data = self.0.lock().unwrap();
        if let Some((_, there)) = data.values.get(key)
            && cas != 0
            && cas != *there
        {
            return false;
        }
        data.last += 1;
        let last = data.last;
        data.values.insert(key.to_vec(), (value.to_vec(), last));
        true
    }

    /// Each call of the suite is a callback of its own.
    fn moment(&self) -> u64 {
        self.1.fetch_add(1, Ordering::Relaxed)
    }
}
