//! Where a partition lives: Murmur3 tokens as Cassandra computes them, and ScyllaDB's shard of a token.
//!
//! Cassandra's Murmur3 (x64, 128 bits, seed 0, first half kept) differs from the published one: the tail bytes are
//! sign-extended before they are shifted in, so keys with bytes of 0x80 and above in their last, incomplete block of
//! 16 hash differently. `i64::MIN` is kept for "before every token": a hash of that value becomes `i64::MAX`, and the
//! empty key (which no table accepts) has the token `i64::MIN`.

/// The position of a partition on the ring of 64-bit tokens.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Token(pub i64);

impl Token {
    /// Before every partition.
    pub const MIN: Token = Token(i64::MIN);
    /// The last token that a partition can have.
    pub const MAX: Token = Token(i64::MAX);
}

/// The token of a partition key (its bytes as `Schema::partition_key_bytes` gives them).
#[inline]
pub fn token_of(partition_key: &[u8]) -> Token {
    if partition_key.is_empty() {
        return Token::MIN;
    }
    let hash = murmur3(partition_key);
    Token(if hash == i64::MIN { i64::MAX } else { hash })
}

/// How many of the highest bits of a token do not count for its shard.
pub const IGNORE_MSB: u32 = 12;

/// The shard of a token: ScyllaDB's biased-token-round-robin, so that shard-aware drivers find the right core.
///
/// # Panics
/// If `shards` is 0.
#[inline]
pub fn shard_of(token: Token, shards: u16) -> u16 {
    assert!(shards > 0, "a node has at least one shard");
    let biased = (token.0 as u64).wrapping_add(1 << 63) << IGNORE_MSB;
    ((u128::from(biased) * u128::from(shards)) >> 64) as u16
}

const C1: u64 = 0x87c3_7b91_1142_53d5;
const C2: u64 = 0x4cf5_ad43_2745_937f;

#[inline]
fn mix(mut h: u64) -> u64 {
    h ^= h >> 33;
    h = h.wrapping_mul(0xff51_afd7_ed55_8ccd);
    h ^= h >> 33;
    h = h.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    h ^ (h >> 33)
}

/// The first half of Cassandra's 128-bit Murmur3, seed 0.
fn murmur3(data: &[u8]) -> i64 {
    let (mut h1, mut h2) = (0u64, 0u64);
    let (blocks, tail) = data.as_chunks::<16>();
    for block in blocks {
        let block = u128::from_le_bytes(*block);
        let (k1, k2) = (block as u64, (block >> 64) as u64);
        h1 ^= k1.wrapping_mul(C1).rotate_left(31).wrapping_mul(C2);
        h1 = h1
            .rotate_left(27)
            .wrapping_add(h2)
            .wrapping_mul(5)
            .wrapping_add(0x52dc_e729);
        h2 ^= k2.wrapping_mul(C2).rotate_left(33).wrapping_mul(C1);
        h2 = h2
            .rotate_left(31)
            .wrapping_add(h1)
            .wrapping_mul(5)
            .wrapping_add(0x3849_5ab5);
    }
    // The sign extension of each tail byte is what sets this apart from the published function.
    let part = |bytes: &[u8]| {
        bytes.iter().enumerate().fold(0u64, |k, (index, &byte)| {
            k ^ ((byte as i8 as i64 as u64) << (8 * index))
        })
    };
    if tail.len() > 8 {
        h2 ^= part(&tail[8..]).wrapping_mul(C2).rotate_left(33).wrapping_mul(C1);
    }
    if !tail.is_empty() {
        h1 ^= part(&tail[..tail.len().min(8)])
            .wrapping_mul(C1)
            .rotate_left(31)
            .wrapping_mul(C2);
    }
    h1 ^= data.len() as u64;
    h2 ^= data.len() as u64;
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    mix(h1).wrapping_add(mix(h2)) as i64
}
