//! Tokens and shards against an independent implementation: the Rust driver, which sends each statement to the shard that it
//! computes itself.

use std::num::NonZeroU16;

use proptest::prelude::*;
use scrollback_model::{IGNORE_MSB, Token, shard_of, token_of};
use scylla::routing::partitioner::{Murmur3Partitioner, Partitioner};
use scylla::routing::{Sharder, Token as DriverToken};

fn agree(key: &[u8], shards: u16) {
    let token = token_of(key);
    assert_eq!(
        token.0,
        Murmur3Partitioner.hash_one(key).value(),
        "the token of {key:02x?}"
    );
    agree_on_shard(token, shards);
}

fn agree_on_shard(token: Token, shards: u16) {
    let sharder = Sharder::new(NonZeroU16::new(shards).expect("at least one shard"), IGNORE_MSB as u8);
    let theirs = sharder.shard_of(DriverToken::new(token.0));
    assert_eq!(
        u32::from(shard_of(token, shards)),
        theirs,
        "the shard of {token:?} among {shards}"
    );
}

/// Every tail length with bytes on both sides of 0x80, where the published Murmur3 and Cassandra's differ.
#[test]
fn every_tail_length_with_high_bytes() {
    for len in 1..=64usize {
        for pattern in [
            &[0x80][..],
            &[0xff],
            &[0x7f],
            &[0x00],
            &[0x01, 0x80, 0xfe],
            &[0xe2, 0x12, 0x00, 0x99, 0x7f],
        ] {
            let key: Vec<u8> = pattern.iter().copied().cycle().take(len).collect();
            agree(&key, 16);
        }
        for place in 0..len {
            let mut key = vec![0x11; len];
            key[place] = 0xc3;
            agree(&key, 3);
        }
    }
}

#[test]
fn shards_at_the_ends_of_the_ring() {
    for shards in [1, 2, 3, 7, 64, 1_000, u16::MAX] {
        for token in [
            i64::MIN + 1,
            i64::MIN + 2,
            -1,
            0,
            1,
            1 << 51,
            1 << 52,
            i64::MAX - 1,
            i64::MAX,
        ] {
            agree_on_shard(Token(token), shards);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    #[test]
    fn prop_tokens_and_shards_are_the_drivers(
        key in proptest::collection::vec(any::<u8>(), 1..200),
        token in (i64::MIN + 1)..=i64::MAX,
        shards in 1..=u16::MAX,
    ) {
        agree(&key, shards);
        agree_on_shard(Token(token), shards);
    }
}
