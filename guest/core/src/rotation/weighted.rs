//! Each proxy as often as its weight says, evenly spread, without any state but the ticket.
//!
//! The weights are laid end to end on a ring, and every ticket steps on by a constant that has no
//! divisor in common with the ring's length. So one round visits every position once (each proxy gets
//! exactly its weight), and a step near the golden ratio of the ring keeps visits to one proxy apart.

use super::Field;
use crate::storage::{Storage, StorageError};

/// How many positions of the ring are tried before the pool is walked in order.
const TRIES: u64 = 64;

pub(super) fn pick<S: Storage>(field: &mut Field<'_, S>) -> Result<Option<usize>, StorageError> {
    let ring = field.pool.total_weight();
    if ring == 0 {
        return Ok(None);
    }
    let turn = field.draw.ticket % ring;
    let turned = (u128::from(turn) * u128::from(step(ring)) % u128::from(ring)) as u64;
    for attempt in 0..TRIES {
        // The share of a refused proxy goes to the others by their weights. Walking on along the ring
        // would give it to whichever of them happens to follow.
        let position = match attempt {
            0 => turned,
            _ => field.random_below(ring, attempt),
        };
        let i = field.pool.at_weight(position);
        if field.admits(i)? {
            return Ok(Some(i));
        }
    }
    field.first_admitted_from(field.random_place(0))
}

fn step(ring: u64) -> u64 {
    // 0.618… of the ring: a ring is below 2^48 (65,535 times 2^32 proxies).
    let golden = (u128::from(ring) * 618_033_989 / 1_000_000_000) as u64;
    (golden.max(1)..).find(|s| gcd(*s, ring) == 1).unwrap_or(1)
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_visits_every_position_once() {
        for ring in 1..500 {
            let step = step(ring);
            let mut seen = alloc::vec![false; ring as usize];
            for turn in 0..ring {
                seen[(turn * step % ring) as usize] = true;
            }
            assert!(seen.iter().all(|s| *s), "{ring}");
        }
    }
}
