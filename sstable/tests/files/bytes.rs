//! Damaged bytes: every flipped bit and every cut is found; forged bytes under a right checksum give errors, never a panic,
//! never an allocation of a length that nobody checked.
//!
//! Frames are found and sealed here by what `docs/format/sstable.md` says, not by the crate's code.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "damages files behind the store's back")]

use crate::common;
use std::rc::Rc;

use crate::common::{Partition, Rng, checksum, forge, frames, sample};
use model::{Direction, Peek, RowSource, Slice};
use scrollback_sstable::{BlockCache, Compression, Error, Table, WriterOptions, offline};

#[test]
fn the_checksum_is_what_the_document_says() {
    let (options, _, bytes) = sample(Compression::Lz4);
    let all = frames(&bytes);
    let kinds: Vec<u8> = all.iter().map(|(at, _)| bytes[at + 4]).collect();
    assert!(kinds.iter().filter(|k| **k == 1).count() >= 4, "{kinds:?}");
    assert!(kinds.iter().filter(|k| **k == 2).count() >= 2, "{kinds:?}");
    assert_eq!(kinds[kinds.len() - 3..], [3, 4, 5]);
    for frame in all {
        assert_eq!(checksum(&bytes, frame, &options), bytes[frame.0..frame.0 + 4]);
    }
    assert_eq!(offline::verify(&bytes).unwrap().file_bytes, bytes.len() as u64);
}

#[test]
fn every_flipped_bit_is_found() {
    for compression in [Compression::Lz4, Compression::None] {
        let (_, _, mut bytes) = sample(compression);
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(
                offline::verify(&bytes).is_err(),
                "bit {} of byte {} of {}",
                bit % 8,
                bit / 8,
                bytes.len()
            );
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        assert!(offline::verify(&bytes).is_ok());
    }
}

#[test]
fn every_cut_and_every_added_byte_is_found() {
    let (_, _, bytes) = sample(Compression::Lz4);
    for len in 0..bytes.len() {
        assert!(offline::verify(&bytes[..len]).is_err(), "cut to {len}");
        // What an unfinished file looks like after a crash: its size, and zeros where nothing was written.
        let mut zeroed = bytes[..len].to_vec();
        zeroed.resize(bytes.len(), 0);
        assert!(offline::verify(&zeroed).is_err(), "zeros from {len}");
    }
    assert!(offline::verify(&[&bytes[..], &[0]].concat()).is_err());
    assert!(offline::verify(&[&[0], &bytes[..]].concat()).is_err());
}

#[test]
fn a_frame_of_another_file_or_place_is_found() {
    let (options, partitions, bytes) = sample(Compression::None);
    let other = common::encode(
        WriterOptions {
            generation: 43,
            ..options.clone()
        },
        &partitions,
    );
    assert_eq!(frames(&bytes), frames(&other));
    for (at, len) in frames(&bytes) {
        let mut mixed = bytes.clone();
        mixed[at..at + len].copy_from_slice(&other[at..at + len]);
        let damage = offline::verify(&mixed).unwrap_err();
        assert_eq!((damage.offset, damage.what), (at as u64, "a frame's checksum is wrong"));
    }
    // Two frames of one length, exchanged.
    let all = frames(&bytes);
    let pair = all
        .iter()
        .flat_map(|a| all.iter().map(move |b| (*a, *b)))
        .find(|(a, b)| a.0 < b.0 && a.1 == b.1);
    if let Some((a, b)) = pair {
        let mut mixed = bytes.clone();
        mixed[a.0..a.0 + a.1].copy_from_slice(&bytes[b.0..b.0 + b.1]);
        mixed[b.0..b.0 + b.1].copy_from_slice(&bytes[a.0..a.0 + a.1]);
        assert!(offline::verify(&mixed).is_err());
    }
}

#[test]
fn random_bytes_are_errors() {
    for seed in common::seeds(3000) {
        let mut rng = Rng(seed);
        let len = rng.below(600) as usize;
        let mut bytes = rng.bytes(len);
        if bytes.len() > 8 && rng.one_in(2) {
            let end = bytes.len() - 8;
            bytes[end..].copy_from_slice(b"SBSSTFT\n");
        }
        assert!(offline::verify(&bytes).is_err());
        assert!(offline::stats(&bytes).is_err());
    }
}

/// Opens a file and reads everything in it in both directions; gives the first error.
async fn read_all(path: &std::path::Path, len: u64, partitions: &[Partition]) -> Result<(), Error> {
    let table = Table::open(path, 42, len, Rc::new(BlockCache::new(1 << 20))).await?;
    let mut after: Option<(model::Token, Vec<u8>)> = None;
    for _ in 0..10 {
        let next = table
            .next_partition(after.as_ref().map(|(t, k)| (*t, k.as_slice())))
            .await?;
        if next.is_none() {
            break;
        }
        after = next;
    }
    for p in partitions {
        table.head(p.token, &p.key).await?;
        for direction in [Direction::Forward, Direction::Reverse] {
            let mut cursor = table.cursor(p.token, &p.key, Slice::all(), direction);
            loop {
                match cursor.peek() {
                    Peek::End => break,
                    Peek::Item(_) => cursor.advance(),
                    Peek::Pending { .. } => cursor.fill().await?,
                }
                if cursor.skip_covered(2, None) > 0 {
                    continue;
                }
            }
        }
    }
    table.close().await
}

#[test]
fn the_reader_survives_forged_frames() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.sst");
    common::on_shard(move || async move {
        let mut refused = 0;
        for seed in common::seeds(1000) {
            let mut rng = Rng(seed);
            let (options, partitions, bytes) = sample(Compression::None);
            let forged = forge(&bytes, &options, &mut rng);
            std::fs::write(&path, &forged).unwrap();
            refused += u32::from(read_all(&path, forged.len() as u64, &partitions).await.is_err());
        }
        assert!(refused > 100, "{refused}");
    });
}

#[test]
fn the_reader_names_file_and_offset_of_damage() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.sst");
    common::on_shard(move || async move {
        let (_, partitions, bytes) = sample(Compression::Lz4);
        std::fs::write(&path, &bytes).unwrap();
        read_all(&path, bytes.len() as u64, &partitions).await.unwrap();
        for (at, len) in frames(&bytes) {
            for byte in [at, at + 5, at + len / 2, at + len - 1] {
                let mut bad = bytes.clone();
                bad[byte] ^= 0x10;
                std::fs::write(&path, &bad).unwrap();
                match read_all(&path, bad.len() as u64, &partitions).await {
                    Err(Error::Corrupt {
                        path: named, offset, ..
                    }) => {
                        assert_eq!((named, offset), (path.clone(), at as u64));
                    }
                    other => panic!("byte {byte}: {other:?}"),
                }
            }
        }
        // Another length, another generation, a missing file.
        std::fs::write(&path, &bytes).unwrap();
        let cache = Rc::new(BlockCache::new(0));
        let wrong = Table::open(&path, 42, bytes.len() as u64 + 1, cache.clone())
            .await
            .unwrap_err();
        assert!(matches!(wrong, Error::Corrupt { .. }), "{wrong}");
        let wrong = Table::open(&path, 41, bytes.len() as u64, cache.clone())
            .await
            .unwrap_err();
        assert!(matches!(wrong, Error::Corrupt { .. }), "{wrong}");
        let missing = Table::open(&path.with_extension("none"), 42, 1, cache)
            .await
            .unwrap_err();
        assert!(matches!(missing, Error::Io(ref e) if e.is_not_found()), "{missing}");
    });
}
