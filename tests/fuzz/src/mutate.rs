//! Mutations that are the same in every run.
//!
//! Not proptest, which makes values of a type: what finds faults in a parser is a real input with a few bytes
//! wrong. Not bolero, which brings an engine and a way to run of its own for what takes sixty lines here.

/// Numbers that look random: SplitMix64.
#[derive(Clone, Copy, Debug)]
pub struct Numbers(u64);

impl Numbers {
    /// Those of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `n`, which is not zero.
    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).unwrap_or(0)
    }
}

/// One of the inputs, changed in one to six places.
pub fn mutate(inputs: &[Vec<u8>], words: &[&str], numbers: &mut Numbers) -> Vec<u8> {
    let mut bytes = inputs[numbers.below(inputs.len())].clone();
    for _ in 0..=numbers.below(6) {
        let at = numbers.below(bytes.len() + 1);
        let to = bytes.len().min(at + numbers.below(32));
        match numbers.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << numbers.below(8),
            1 if at < bytes.len() => {
                bytes[at] = [0, 1, 0x7f, 0x80, 0xff, b'\n', b'"', b'%'][numbers.below(8)];
            }
            2 => drop(bytes.drain(at..to)),
            3 => {
                let copy = bytes[at..to].to_vec();
                bytes.splice(at..at, copy);
            }
            4 if !words.is_empty() => {
                let word = words[numbers.below(words.len())];
                bytes.splice(at..at, word.bytes());
            }
            5 => {
                // The end of another input.
                let other = &inputs[numbers.below(inputs.len())];
                bytes.truncate(at);
                bytes.extend_from_slice(&other[numbers.below(other.len() + 1)..]);
            }
            _ => {
                let noise: Vec<u8> = (0..numbers.below(9))
                    .map(|_| numbers.below(256) as u8)
                    .collect();
                bytes.splice(at..at, noise);
            }
        }
    }
    bytes
}
