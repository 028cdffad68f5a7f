//! The simulator's dice, and the hash of everything it did.

use std::cell::Cell;
use std::ops::Range;

/// SplitMix64: one addition and one mix per number, and every seed is a good one.
pub(super) struct Rng(Cell<u64>);

/// The finaliser of SplitMix64.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl Rng {
    /// Stream `stream` of a seed: scheduling, disk, crashes and shards each draw from their own, so that one more draw in
    /// one of them leaves the others as they were.
    pub(super) fn new(seed: u64, stream: u64) -> Self {
        Rng(Cell::new(
            mix(seed.wrapping_add(0x9E37_79B9_7F4A_7C15)) ^ mix(stream.wrapping_mul(0xD1B5_4A32_D192_ED03)),
        ))
    }

    pub(super) fn u64(&self) -> u64 {
        let state = self.0.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.0.set(state);
        mix(state)
    }

    /// Below `n`; 0 if `n` is 0.
    pub(super) fn below(&self, n: u64) -> u64 {
        ((u128::from(self.u64()) * u128::from(n)) >> 64) as u64
    }

    /// An index below `len`.
    pub(super) fn index(&self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// Within `range`; its start if it is empty.
    pub(super) fn range(&self, range: &Range<u64>) -> u64 {
        range.start + self.below(range.end.saturating_sub(range.start))
    }

    pub(super) fn coin(&self) -> bool {
        self.u64() >> 63 == 1
    }

    /// True with probability `p`. Draws nothing if `p` is 0.
    pub(super) fn chance(&self, p: f64) -> bool {
        p > 0.0 && ((self.u64() >> 11) as f64) < p * (1u64 << 53) as f64
    }
}

/// Hash of a history: every scheduling choice and every disk operation, in order.
pub(super) struct Trace(Cell<u64>);

impl Trace {
    pub(super) fn new() -> Self {
        Trace(Cell::new(0x5CB0_11BA_C4D1_57A1))
    }

    pub(super) fn get(&self) -> u64 {
        self.0.get()
    }

    pub(super) fn note(&self, what: u64, detail: u64) {
        let mixed = (self.0.get() ^ what)
            .wrapping_mul(0x9FB2_1C65_1E98_DF25)
            .rotate_left(29)
            ^ detail;
        self.0.set(mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(31));
    }

    pub(super) fn note_bytes(&self, what: u64, bytes: &[u8]) {
        self.note(what, hash_bytes(bytes));
    }
}

/// Four lanes, because one multiplication has to wait for the one before it.
fn hash_bytes(bytes: &[u8]) -> u64 {
    const K: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut lanes = [1u64, 2, 3, 4];
    let mut blocks = bytes.chunks_exact(32);
    for block in &mut blocks {
        for (lane, word) in lanes.iter_mut().zip(block.chunks_exact(8)) {
            let word = u64::from_le_bytes(word.try_into().expect("chunks of eight bytes"));
            *lane = (*lane ^ word).wrapping_mul(K).rotate_left(23);
        }
    }
    for &byte in blocks.remainder() {
        lanes[0] = (lanes[0] ^ u64::from(byte)).wrapping_mul(K).rotate_left(23);
    }
    lanes.iter().fold(bytes.len() as u64, |hash, lane| mix(hash ^ lane))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_one_seed_differ_and_repeat() {
        let draw = |seed, stream| {
            (0..4)
                .map(|_| 0)
                .scan(Rng::new(seed, stream), |rng, _| Some(rng.u64()))
                .collect::<Vec<_>>()
        };
        assert_eq!(draw(1, 1), draw(1, 1));
        assert_ne!(draw(1, 1), draw(1, 2));
        assert_ne!(draw(1, 1), draw(2, 1));
    }

    #[test]
    fn bounds_hold() {
        let rng = Rng::new(7, 0);
        assert_eq!(rng.below(0), 0);
        assert_eq!(rng.range(&(5..5)), 5);
        assert!((0..1000).all(|_| rng.below(3) < 3 && (10..12).contains(&rng.range(&(10..12)))));
        assert!(!rng.chance(0.0) && rng.chance(1.0));
        let hits = (0..10_000).filter(|_| rng.chance(0.1)).count();
        assert!((800..1200).contains(&hits), "{hits} of 10000 at a chance of 0.1");
    }

    #[test]
    fn trace_sees_order_and_bytes() {
        let of = |notes: &[(u64, u64)]| {
            let trace = Trace::new();
            notes.iter().for_each(|&(what, detail)| trace.note(what, detail));
            trace.get()
        };
        assert_ne!(of(&[(1, 2), (3, 4)]), of(&[(3, 4), (1, 2)]));
        let bytes = [0u8; 100];
        for at in 0..100 {
            let mut other = bytes;
            other[at] = 1;
            assert_ne!(hash_bytes(&bytes), hash_bytes(&other), "byte {at} does not count");
        }
        assert_ne!(hash_bytes(&bytes), hash_bytes(&bytes[..99]));
    }
}
