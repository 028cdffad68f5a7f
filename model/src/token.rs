//! Where a partition lives: Murmur3 tokens as Cassandra computes them, and ScyllaDB's shard of a token.
//!
//! Cassandra's Murmur3 (x64, 128 bits, seed 0, first half kept) differs from the published one: the tail bytes are
//! sign-extended before they are shifted in, so keys with bytes of 0x80 and above in their last, incomplete block of
//! 16 hash differently. `i64::MIN` is kept for "before every token": a hash of that value becomes `i64::MAX`, and the
//! empty key (which no table accepts) has the token `i64::MIN`.

/// The position of a partition on the ring of 64-bit tokens. [`token_of`] gives it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Token(pub i64);

impl Token {
    /// Before every partition.
    pub const MIN: Token = Token(i64::MIN);
    /// The last token that a partition can have.
    pub const MAX: Token = Token(i64::MAX);
}

/// The token of a partition key (its bytes as `Schema::partition_key_bytes` gives them).
///
/// ```
/// use scrollback_model::{next_token_of, shard_of, token_of};
///
/// let token = token_of(b"\x00\x00\x00\x07");
/// let shard = shard_of(token, 4);
/// assert_eq!(next_token_of(token, shard, 4), Some(token));
/// ```
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
/// [`token_of`] shows it.
///
/// # Panics
/// If `shards` is 0.
#[inline]
pub fn shard_of(token: Token, shards: u16) -> u16 {
    assert!(shards > 0, "a node has at least one shard");
    let biased = (token.0 as u64).wrapping_add(1 << 63) << IGNORE_MSB;
    ((u128::from(biased) * u128::from(shards)) >> 64) as u16
}

/// The first token at or after `from` that belongs to `shard`, if there is one. [`token_of`] shows it.
///
/// # Panics
/// If `shard` is not one of `shards`.
pub fn next_token_of(from: Token, shard: u16, shards: u16) -> Option<Token> {
    assert!(shard < shards, "shard {shard} of {shards}");
    // The shards' turns come again with every value of the bits that do not count.
    const TURN_BITS: u32 = 64 - IGNORE_MSB;
    let first_of = |shard: u16| (u64::from(shard) << TURN_BITS).div_ceil(u64::from(shards));
    let unbiased = (from.0 as u64).wrapping_add(1 << 63);
    let in_turn = unbiased & ((1 << TURN_BITS) - 1);
    let turn = unbiased - in_turn;
    let next = if in_turn < first_of(shard) {
        turn + first_of(shard)
    } else if in_turn < first_of(shard + 1) {
        unbiased
    } else {
        turn.checked_add(1 << TURN_BITS)? + first_of(shard)
    };
    Some(Token(next.wrapping_sub(1 << 63) as i64))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What the test suites of the public drivers hold Cassandra's tokens to.
    #[test]
    fn published_vectors() {
        let repeated = |bytes: &[u8], times: usize| bytes.repeat(times);
        let counting = |from: u8| (from..from + 16).collect::<Vec<u8>>();
        for (key, token) in [
            (b"123".to_vec(), -7468325962851647638),
            (repeated(b"\x00\xff\x10\xfa\x99", 10), 5837342703291459765),
            (repeated(b"\xfe", 8), -8927430733708461935),
            (repeated(b"\x10", 8), 1446172840243228796),
            (b"9223372036854775807".to_vec(), 7162290910810015547),
            (counting(1), -5563837382979743776),
            (counting(2), -1513403162740402161),
            (counting(3), -495360443712684655),
            (counting(7), 8228893370679682632),
            (repeated(b"\x00", 16), 5457549051747178710),
            (repeated(b"\xff", 16), -2824192546314762522),
            (repeated(b"\xfe", 16), -833317529301936754),
            (repeated(b"\xfe", 17), -1672437813826982685),
            (repeated(b"\xfe", 4), 4566408979886474012),
            (repeated(b"\x00", 4), -3485513579396041028),
            (b"\x00\x01\x7f\x7f".to_vec(), 6573459401642635627),
            (b"\x00\xff\xff\xff".to_vec(), 123573637386978882),
            (b"\xff\x01\x02\x03".to_vec(), -2839127690952877842),
            (b"\xe2\xe7".to_vec(), -8582699461035929883),
            (b"\xe2\xe7\xe2\xe7\xe2\xe7\x01".to_vec(), 2222373981930033306),
            (b"test".to_vec(), -6017608668500074083),
            ("krem\u{f3}wki".as_bytes().to_vec(), 4354931215268080151),
        ] {
            assert_eq!(token_of(&key), Token(token), "{key:?}");
        }
    }

    #[test]
    fn the_smallest_hash_becomes_the_largest_token() {
        // The hash can be undone for 16 bytes: this key's is i64::MIN.
        let key = 0x2250d320b1bc4f2292dd6c8c327dc79d_u128.to_le_bytes();
        assert_eq!(murmur3(&key), i64::MIN);
        assert_eq!(token_of(&key), Token::MAX);
        assert_eq!(token_of(b""), Token::MIN);
    }

    #[test]
    fn shards_share_the_ring() {
        for token in [i64::MIN, -1, 0, 1, i64::MAX] {
            assert_eq!(shard_of(Token(token), 1), 0);
        }
        let mut rows = [0u32; 7];
        for key in 0..70_000u32 {
            rows[usize::from(shard_of(token_of(&key.to_be_bytes()), 7))] += 1;
        }
        assert!(rows.iter().all(|&n| (9_000..11_000).contains(&n)), "{rows:?}");
    }
}
