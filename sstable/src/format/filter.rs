//! The partition filter: a Bloom filter of 64-byte blocks, so that a look-up touches one cache line.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 1 | kind, 1 |
//! | 1 | 1 | probes, 6 |
//! | 2 | 2 | zero |
//! | 4 | 4 | block count |
//! | 8 | 64 each | blocks |
//!
//! Ten bits a key give about 1.2 % false positives.

use xxhash_rust::xxh3::xxh3_64;

use super::{What, u32_at};

const KIND: u8 = 1;
const PROBES: u8 = 6;
const HEADER_LEN: usize = 8;
const BLOCK_BYTES: usize = 64;
const BLOCK_BITS: u64 = 512;
const BITS_PER_KEY: u64 = 10;
const BLOCKS_MAX: u64 = 1 << 20;
const MIX: u64 = 0x9E37_79B9_7F4A_7C15;

/// The hash that the filter is built over.
#[inline]
pub(crate) fn hash(key: &[u8]) -> u64 {
    xxh3_64(key)
}

#[inline]
fn block_of(hash: u64, blocks: u32) -> usize {
    (((hash >> 32) * u64::from(blocks)) >> 32) as usize
}

#[inline]
fn bits(hash: u64) -> impl Iterator<Item = usize> {
    let mixed = hash.wrapping_mul(MIX);
    (0..u32::from(PROBES)).map(move |i| (mixed >> (64 - 9 * (i + 1))) as usize % BLOCK_BITS as usize)
}

/// Builds a filter, some keys at a time.
pub(crate) struct FilterBuilder {
    bytes: Vec<u8>,
    blocks: u32,
}

impl FilterBuilder {
    pub(crate) fn new(keys: u64) -> Self {
        let blocks = (keys.saturating_mul(BITS_PER_KEY).div_ceil(BLOCK_BITS)).clamp(1, BLOCKS_MAX) as u32;
        let mut bytes = vec![0; HEADER_LEN + blocks as usize * BLOCK_BYTES];
        bytes[0] = KIND;
        bytes[1] = PROBES;
        bytes[4..8].copy_from_slice(&blocks.to_le_bytes());
        FilterBuilder { bytes, blocks }
    }

    pub(crate) fn add(&mut self, hashes: &[u64]) {
        for &hash in hashes {
            let start = HEADER_LEN + block_of(hash, self.blocks) * BLOCK_BYTES;
            let block = &mut self.bytes[start..start + BLOCK_BYTES];
            for bit in bits(hash) {
                block[bit / 8] |= 1 << (bit % 8);
            }
        }
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// A filter in memory.
pub(crate) struct Filter {
    bytes: Vec<u8>,
    blocks: u32,
}

impl Filter {
    pub(crate) fn parse(bytes: Vec<u8>) -> Result<Filter, What> {
        if bytes.len() < HEADER_LEN || bytes[..4] != [KIND, PROBES, 0, 0] {
            return Err("a filter of an unknown kind");
        }
        let blocks = u32_at(&bytes, 4).unwrap_or(0);
        if blocks == 0 || (bytes.len() - HEADER_LEN) as u64 != u64::from(blocks) * BLOCK_BYTES as u64 {
            return Err("a filter has the wrong length");
        }
        Ok(Filter { bytes, blocks })
    }

    /// False only if no key with this hash is in the file.
    #[inline]
    pub(crate) fn may_contain(&self, hash: u64) -> bool {
        let start = HEADER_LEN + block_of(hash, self.blocks) * BLOCK_BYTES;
        let Some(block) = self.bytes.get(start..start + BLOCK_BYTES) else {
            return true;
        };
        bits(hash).all(|bit| block[bit / 8] & (1 << (bit % 8)) != 0)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashes(range: std::ops::Range<u64>) -> Vec<u64> {
        range.map(|i| hash(&i.to_be_bytes())).collect()
    }

    #[test]
    fn has_no_false_negatives_and_few_false_positives() {
        for keys in [1, 10, 1_000, 100_000] {
            let mut builder = FilterBuilder::new(keys);
            builder.add(&hashes(0..keys));
            let filter = Filter::parse(builder.finish()).unwrap();
            assert!(hashes(0..keys).into_iter().all(|h| filter.may_contain(h)));
            let wrong = hashes(1 << 40..(1 << 40) + 100_000)
                .into_iter()
                .filter(|h| filter.may_contain(*h))
                .count();
            assert!(wrong < 2_000, "{wrong} of 100000 with {keys} keys");
        }
    }

    #[test]
    fn rejects_other_lengths_and_kinds() {
        let good = FilterBuilder::new(5).finish();
        assert!(Filter::parse(good[..good.len() - 1].to_vec()).is_err());
        assert!(Filter::parse(Vec::new()).is_err());
        for (at, value) in [(0, 2), (1, 7), (2, 1), (4, 2), (7, 255)] {
            let mut bad = good.clone();
            bad[at] = value;
            assert!(Filter::parse(bad).is_err(), "byte {at}");
        }
    }
}
