//! Digests of sets of clustering keys: whether two sources hold the same keys, without comparing them one by one.
//!
//! A set's digest is the sum of its keys' hashes, so sets can be added up, and taken apart, in any order. Equal sets have equal
//! digests; different ones have equal digests once in 2^128 sums of keys that were not chosen to that end. The hashes depend on a
//! seed, so that such keys cannot be prepared without it.
//!
//! A digest is 16 bytes in sstables: the low half, then the high half.

use xxhash_rust::xxh3::{xxh3_64, xxh3_128_with_seed};

/// What the hashes of a node's keys depend on.
///
/// [`KeyDigest`] shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct KeySeed(u64);

impl KeySeed {
    /// The seed of a node: the 64-bit xxh3 of its id.
    pub fn of_host(host_id: &[u8; 16]) -> KeySeed {
        KeySeed(xxh3_64(host_id))
    }

    /// The digest of one key: its 128-bit xxh3.
    #[inline]
    pub fn digest(self, clustering: &[u8]) -> KeyDigest {
        let hash = xxh3_128_with_seed(clustering, self.0);
        KeyDigest {
            low: hash as u64,
            high: (hash >> 64) as u64,
        }
    }
}

/// The digest of a set of clustering keys. Both halves are added apart, modulo 2^64.
///
/// [`KeySeed::digest`] gives it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct KeyDigest {
    low: u64,
    high: u64,
}

impl KeyDigest {
    /// Of no key.
    pub const EMPTY: KeyDigest = KeyDigest { low: 0, high: 0 };

    /// Adds the keys of `other`, which are none of these.
    #[inline]
    pub fn add(&mut self, other: KeyDigest) {
        self.low = self.low.wrapping_add(other.low);
        self.high = self.high.wrapping_add(other.high);
    }

    /// The same keys, to be taken away by [`add`](Self::add).
    #[inline]
    #[must_use]
    pub fn negated(self) -> KeyDigest {
        KeyDigest {
            low: self.low.wrapping_neg(),
            high: self.high.wrapping_neg(),
        }
    }

    /// As an sstable has it.
    pub fn to_bytes(self) -> [u8; 16] {
        ((u128::from(self.high) << 64) | u128::from(self.low)).to_le_bytes()
    }

    /// From [`to_bytes`](Self::to_bytes).
    pub fn from_bytes(bytes: [u8; 16]) -> KeyDigest {
        let both = u128::from_le_bytes(bytes);
        KeyDigest {
            low: both as u64,
            high: (both >> 64) as u64,
        }
    }
}

/// Row tombstones, and nothing else, of a stretch of one partition.
///
/// [`KeyDigest`] shows what its digest is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeadRows {
    /// How many.
    pub count: u64,
    /// Of their keys.
    pub digest: KeyDigest,
    /// None of them is older.
    pub min_timestamp: i64,
}

impl DeadRows {
    /// No row.
    pub const NONE: DeadRows = DeadRows {
        count: 0,
        digest: KeyDigest::EMPTY,
        min_timestamp: i64::MAX,
    };

    /// Adds rows of other keys. Counts from disk may be anything: they do not wrap.
    #[inline]
    pub fn add(&mut self, other: &DeadRows) {
        self.count = self.count.saturating_add(other.count);
        self.digest.add(other.digest);
        self.min_timestamp = self.min_timestamp.min(other.min_timestamp);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: [u8; 16] = *b"0123456789abcdef";

    fn sum(seed: KeySeed, keys: &[&[u8]]) -> KeyDigest {
        let mut sum = KeyDigest::EMPTY;
        keys.iter().for_each(|key| sum.add(seed.digest(key)));
        sum
    }

    /// Files hold these bytes: they are the same for ever.
    #[test]
    fn a_digest_has_its_bytes() {
        let digest = KeySeed::of_host(&HOST).digest(b"\x40\x01");
        let hex: String = digest.to_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "a5ff4a98188ea43cf432c36bb660b6c3");
        assert_eq!(KeyDigest::from_bytes(digest.to_bytes()), digest);
    }

    #[test]
    fn sets_add_up_in_any_order_and_are_taken_away() {
        let seed = KeySeed::of_host(&HOST);
        let all = sum(seed, &[b"a", b"b", b"c"]);
        assert_eq!(all, sum(seed, &[b"c", b"a", b"b"]));
        let mut left = all;
        left.add(seed.digest(b"b").negated());
        assert_eq!(left, sum(seed, &[b"a", b"c"]));
        left.add(sum(seed, &[b"a", b"c"]).negated());
        assert_eq!(left, KeyDigest::EMPTY);
    }

    #[test]
    fn other_keys_and_other_seeds_give_other_digests() {
        let (seed, other) = (KeySeed::of_host(&HOST), KeySeed::of_host(&[0; 16]));
        assert_ne!(seed.digest(b""), KeyDigest::EMPTY);
        assert_ne!(seed.digest(b"a"), other.digest(b"a"));
        let mut seen = std::collections::BTreeSet::new();
        for a in 0..60_u8 {
            for b in a + 1..60 {
                assert!(seen.insert(sum(seed, &[&[a], &[b]]).to_bytes()), "{a} and {b}");
            }
        }
    }
}
