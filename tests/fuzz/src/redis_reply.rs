//! What a Redis server answers. It is a cell, a page or an error, whatever stands in front of it.

use remora_core::MAX_KEY_LEN;
use remora_host::internals::redis_reply;

use crate::Target;

pub(crate) const TARGET: Target = Target {
    name: "redis_reply",
    run,
    mutations: 500_000,
    words: &[
        "$-1\r\n",
        "*-1\r\n",
        "$56\r\n",
        "*2\r\n",
        ":1\r\n",
        "-ERR x\r\n",
        "\r\n",
        "$18446744073709551615\r\n",
        "_\r\n",
    ],
};

fn run(data: &[u8]) {
    for (key, _) in redis_reply(data) {
        assert!((1..=MAX_KEY_LEN).contains(&key.len()));
        assert!(key.bytes().all(|byte| byte.is_ascii_graphic()));
    }
}
