//! The codec and the reader's verdict, on bytes in memory: every flip, random bytes, missing and foreign files.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use commitlog::LogPosition;
use commitlog::format::{BLOCK, FIRST_RECORD, HeaderError, SegmentHeader, SegmentName, group_end, header_checksum};
use commitlog::inspect::{Damage, Entry, InspectedLog, LogDamage, inspect, inspect_log};
use commitlog::walk::Record;
use common::{Image, at, closed_log};
use proptest::prelude::*;

type Records = Vec<(LogPosition, Vec<u8>)>;

/// Reads images as a whole log; the records with their positions.
fn read(images: &[Image]) -> (Records, Result<InspectedLog, LogDamage>) {
    read_from(images.first().map_or(0, |image| image.header.oldest), images)
}

fn read_from(segment: u64, images: &[Image]) -> (Records, Result<InspectedLog, LogDamage>) {
    let segments: Vec<_> = images
        .iter()
        .map(|image| (image.name(), image.bytes.as_slice()))
        .collect();
    let mut records = Vec::new();
    let log = inspect_log(&segments, segment, |_, entry| {
        if let Entry::Record(record @ Record { payload, .. }) = entry {
            records.push((record.end(), payload.to_vec()));
        }
    });
    (records, log)
}

fn damage_of(result: Result<InspectedLog, LogDamage>) -> (u64, u64, &'static str) {
    match result {
        Err(LogDamage::Corrupt {
            name,
            damage: Damage { offset, what },
        }) => (name.id, offset, what),
        other => panic!("expected damage, found {other:?}"),
    }
}

/// A closed log of two short segments, so that flipping every bit of it takes seconds.
fn short_log() -> (Vec<Image>, LogPosition) {
    let mut one = Image::new(1, 0xfeed_beef, 1, 4 * BLOCK as u32);
    let start = at(1, FIRST_RECORD);
    let (_, a) = one.group(&[b"a", b"bb"], start, start);
    one.fill(a);
    let mut two = Image::new(2, 0x0102_0304, 1, 4 * BLOCK as u32);
    let (_, b) = two.group(&[b"ccc"], a, at(1, 4 * BLOCK as u32));
    two.group(&[], b, b);
    (vec![one, two], b)
}

#[test]
fn every_bit_flip_is_detected_or_lies_after_the_last_vouched_position() {
    let (mut images, vouched) = short_log();
    let (records, log) = read(&images);
    assert_eq!(log.unwrap().vouched, vouched);
    let (mut detected, mut behind) = (0, 0);
    for i in 0..images.len() {
        for byte in 0..images[i].bytes.len() {
            let place = at(images[i].name().id, byte as u32);
            // All eight bits where something stands; one where there are only zeros, to save time.
            let bits = if images[i].bytes[byte] == 0 && !byte.is_multiple_of(16) {
                byte % 8..byte % 8 + 1
            } else {
                0..8
            };
            for bit in bits {
                images[i].bytes[byte] ^= 1 << bit;
                let (found, log) = read(&images);
                match log {
                    Err(_) => detected += 1,
                    Ok(_) => {
                        assert!(
                            place >= vouched || byte < BLOCK,
                            "flip of bit {bit} at {place} was not detected"
                        );
                        assert!(byte >= BLOCK, "flip of bit {bit} in a segment header was not detected");
                        assert_eq!(found, records, "flip of bit {bit} at {place} changed what is read");
                        behind += 1;
                    }
                }
                images[i].bytes[byte] ^= 1 << bit;
            }
        }
    }
    assert!(
        detected > 20_000 && behind > 8_000,
        "{detected} detected, {behind} behind the vouched position"
    );
}

#[test]
fn damage_names_segment_and_offset() {
    let (mut images, records, _) = closed_log();
    let (whole, _) = read(&images);
    assert_eq!(whole.iter().map(|(_, r)| r.clone()).collect::<Vec<_>>(), records);
    // The payload of the third record of the first group.
    images[0].bytes[4200] ^= 1;
    let (found, log) = read(&images);
    assert_eq!(damage_of(log), (7, 4165, "wrong checksum of a record"));
    assert_eq!(found, whole[..2]);
}

#[test]
fn last_record_damaged_after_the_log_was_closed_is_damage_and_not_a_torn_tail() {
    let (mut images, _, vouched) = closed_log();
    images[1].bytes[12288 + 33] ^= 0x40;
    assert_eq!(damage_of(read(&images).1), (8, 12288, "wrong checksum of a record"));
    assert_eq!(vouched, at(8, 16384));
}

#[test]
fn zeroed_end_of_a_group_is_damage() {
    // The last records of a group, up to the block border, as sectors of zeros: the fill that must follow them is missing too.
    let (mut images, _, _) = closed_log();
    images[0].bytes[4453..8192].fill(0);
    assert_eq!(damage_of(read(&images).1), (7, 4453, "not a record of this segment"));
}

#[test]
fn torn_last_group_is_a_torn_tail() {
    let mut image = Image::new(4, 77, 4, 8 * BLOCK as u32);
    let start = at(4, FIRST_RECORD);
    let (_, a) = image.group(&[b"durable"], start, start);
    let long = vec![b'z'; 6000];
    // Two groups in flight: neither vouches for the other.
    let (torn, b) = image.group(&[b"first", &long], start, a);
    image.group(&[b"second"], start, a);
    for (lost, kept) in [(0, 1), (512, 2), (BLOCK, 2)] {
        let from = torn.offset as usize + lost;
        let mut cut = Image {
            bytes: image.bytes.clone(),
            ..Image::new(4, 77, 4, 8 * BLOCK as u32)
        };
        cut.bytes[from..from + 512].fill(0);
        let (records, log) = read(&[cut]);
        let log = log.unwrap();
        assert!(
            log.torn && records.len() == kept,
            "{} records without the sector at {from}",
            records.len()
        );
        assert!(log.end >= torn && log.end < b, "ends at {}", log.end);
    }
}

#[test]
fn second_group_landed_first() {
    // The first of two groups in flight is wholly missing: nobody was told of either, so both are dropped.
    let mut image = Image::new(4, 77, 4, 8 * BLOCK as u32);
    let start = at(4, FIRST_RECORD);
    let (_, a) = image.group(&[b"durable"], start, start);
    let (gone, b) = image.group(&[b"first"], start, a);
    image.group(&[b"second"], start, a);
    image.bytes[gone.offset as usize..b.offset as usize].fill(0);
    let (records, log) = read(&[image]);
    assert_eq!((records.len(), log.unwrap().torn), (1, true));
}

#[test]
fn group_lost_before_a_vouching_one_in_the_next_segment_is_damage() {
    let mut one = Image::new(4, 77, 4, 4 * BLOCK as u32);
    let start = at(4, FIRST_RECORD);
    let (_, a) = one.group(&[b"durable"], start, start);
    one.fill(a);
    let mut two = Image::new(5, 78, 4, 4 * BLOCK as u32);
    two.group(&[b"later"], at(4, 4 * BLOCK as u32), at(4, 4 * BLOCK as u32));
    one.bytes[a.offset as usize..].fill(0);
    let (_, log) = read(&[one, two]);
    assert_eq!(damage_of(log), (4, u64::from(a.offset), "not a record of this segment"));
}

#[test]
fn stale_records_of_a_recycled_file_are_the_end() {
    let (images, records, _) = closed_log();
    let (found, log) = read(&images);
    assert_eq!((found.len(), log.unwrap().torn), (records.len(), false));
    // Bytes that somebody wrote on purpose into a value, in an earlier life of the file: right id and offset, another salt.
    let mut forged = Image::new(8, 0xdead_0000, 7, 8 * BLOCK as u32);
    forged.offset = images[1].offset;
    let (a, b) = forged.group(&[b"forged"], at(7, FIRST_RECORD), at(7, FIRST_RECORD));
    let mut two = Image {
        bytes: images[1].bytes.clone(),
        ..Image::new(8, 0xb7, 7, 8 * BLOCK as u32)
    };
    two.bytes[a.offset as usize..b.offset as usize]
        .copy_from_slice(&forged.bytes[a.offset as usize..b.offset as usize]);
    let one = Image {
        bytes: images[0].bytes.clone(),
        ..Image::new(7, 0x9f03_a1c4, 7, 8 * BLOCK as u32)
    };
    assert_eq!(read(&[one, two]).0.len(), records.len());
}

#[test]
fn refuses_what_is_not_this_log() {
    let log = || closed_log().0;
    // A missing segment in the middle, and at the beginning.
    let mut images = log();
    images[0].header.name.id = 6;
    images[0].header.oldest = 6;
    images[0].write_header();
    assert_eq!(read_from(7, &images).1, Err(LogDamage::Missing { segment: 7 }));
    // Segments given up that are still asked for.
    let images = log();
    let name = images[1].name();
    assert_eq!(read_from(6, &images).1, Err(LogDamage::Stale { name, oldest: 7 }));
    assert_eq!(read(&log()[1..]).1, Err(LogDamage::Missing { segment: 7 }));
    // The spare: empty is fine, its absence too.
    let mut images = log();
    images.push(Image::new(9, 1, 7, 8 * BLOCK as u32));
    assert!(read(&images).1.is_ok());
    let mut images = log();
    images[1] = Image::new(9, 1, 7, 8 * BLOCK as u32);
    assert_eq!(read(&images).1, Err(LogDamage::Missing { segment: 8 }));
    // A file of another id under this name.
    let mut images = log();
    let foreign = Image::new(12, 0xb7, 7, 8 * BLOCK as u32);
    images[1].bytes = foreign.bytes;
    assert_eq!(
        damage_of(read(&images).1),
        (8, 0, "its header names another segment than the file's name does")
    );
    // Another shard's file, under the right name.
    let mut images = log();
    images[1].header.shard = 4;
    images[1].write_header();
    assert_eq!(
        damage_of(read(&images).1),
        (7, 0, "the segment belongs to the log of another node or shard")
    );
    // Cut short, emptied, made longer.
    for (len, offset, what) in [
        (5 * BLOCK, 5 * BLOCK, "the file is cut short"),
        (5 * BLOCK + 100, 5 * BLOCK + 100, "the file is cut short"),
        (0, 0, "shorter than its header block"),
        (100, 0, "shorter than its header block"),
        (9 * BLOCK, 8 * BLOCK, "the file is longer than its header says"),
    ] {
        let mut images = log();
        images[1].bytes.resize(len, 0);
        assert_eq!(damage_of(read(&images).1), (8, offset as u64, what));
    }
    // All zeros under a segment's name.
    let mut images = log();
    images[1].bytes.fill(0);
    assert_eq!(damage_of(read(&images).1), (8, 0, "not a commit log segment"));
    // A newer version.
    let mut images = log();
    images[1].bytes[8] = 2;
    let checksum = crc32fast::hash(&images[1].bytes[..60]);
    images[1].bytes[60..64].copy_from_slice(&checksum.to_le_bytes());
    assert_eq!(SegmentHeader::decode(&images[1].bytes), Err(HeaderError::TooNew(2)));
    assert_eq!(
        read(&images).1,
        Err(LogDamage::TooNew {
            name: images[1].name(),
            found: 2
        })
    );
    // Two files of one id.
    let mut images = log();
    images.push(Image::new(8, 0xb8, 7, 8 * BLOCK as u32));
    assert_eq!(
        damage_of(read(&images).1),
        (8, 0, "a second file has the same segment id")
    );
    // What is below the floor is not looked at.
    let mut images = log();
    images[0].bytes.clear();
    let segments: Vec<_> = images
        .iter()
        .map(|image| (image.name(), image.bytes.as_slice()))
        .collect();
    assert_eq!(inspect_log(&segments, 8, |_, _| ()).unwrap().records, 3);
    assert_eq!(inspect_log(&[], 8, |_, _| ()).unwrap(), InspectedLog::default());
}

#[test]
fn unknown_kind_with_a_right_checksum_is_never_a_torn_tail() {
    let mut image = Image::new(4, 77, 4, 8 * BLOCK as u32);
    let start = at(4, FIRST_RECORD);
    image.group(&[b"of a later release"], start, start);
    let header = FIRST_RECORD as usize;
    image.bytes[header + 30] = 3;
    let checksum = header_checksum(image.bytes[header..].first_chunk().unwrap(), 77);
    image.bytes[header..header + 4].copy_from_slice(&checksum.to_le_bytes());
    assert_eq!(damage_of(read(&[image]).1), (4, 4096, "record of an unknown kind"));
}

#[test]
fn names() {
    let name = SegmentName { id: 0x1234, salt: 0xab };
    assert_eq!(name.to_string(), "0000000000001234-000000ab.log");
    assert_eq!(SegmentName::parse(&name.to_string()), Some(name));
    assert!(SegmentName::is_spare(&name.spare()) && !SegmentName::is_spare(&name.to_string()));
    for bad in [
        "",
        ".log",
        "-.log",
        "0000000000001234-000000AB.log",
        "0000000000001234-000000ab.spare",
        "1234-ab.log",
        "+000000000001234-000000ab.log",
    ] {
        assert_eq!(SegmentName::parse(bad), None, "{bad}");
    }
}

#[test]
fn groups_end_at_borders_with_place_for_the_fill() {
    assert_eq!(group_end(BLOCK), BLOCK);
    assert_eq!(group_end(BLOCK + 1), 2 * BLOCK);
    assert_eq!(group_end(2 * BLOCK - 32), 2 * BLOCK);
    assert_eq!(group_end(2 * BLOCK - 31), 3 * BLOCK);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn prop_random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..20_000), id in any::<u64>(), salt in any::<u32>()) {
        inspect(SegmentName { id, salt }, &bytes, |_| ());
        let _ = SegmentHeader::decode(&bytes);
    }

    /// Random bytes behind a header that passes.
    #[test]
    fn prop_random_records_never_panic(
        noise in proptest::collection::vec((0usize..6 * BLOCK, proptest::collection::vec(any::<u8>(), 1..80), any::<bool>()), 0..20),
        keep in 0usize..7 * BLOCK,
    ) {
        let (images, _, _) = closed_log();
        let mut bytes = images[0].bytes.clone();
        for (offset, noise, fix) in noise {
            let from = BLOCK + offset;
            bytes[from..from + noise.len()].copy_from_slice(&noise);
            if fix {
                // Make it look like a record of this place, so that what follows the checksum is reached.
                bytes[from + 12..from + 16].copy_from_slice(&(from as u32).to_le_bytes());
                bytes[from + 16..from + 24].copy_from_slice(&7u64.to_le_bytes());
                let checksum = header_checksum(bytes[from..].first_chunk().unwrap(), images[0].name().salt);
                bytes[from..from + 4].copy_from_slice(&checksum.to_le_bytes());
            }
        }
        inspect(images[0].name(), &bytes, |_| ());
        bytes.truncate(BLOCK + keep);
        inspect(images[0].name(), &bytes, |_| ());
    }

    /// Whatever is overwritten: an error, or a prefix that holds everything still vouched for.
    #[test]
    fn prop_damage_is_an_error_or_loses_only_what_nobody_vouches_for(
        segment in 0usize..2, offset in 0usize..8 * BLOCK, noise in proptest::collection::vec(any::<u8>(), 1..9000), zero in any::<bool>(),
    ) {
        let (mut images, _, _) = closed_log();
        let (whole, _) = read(&images);
        let end = (offset + noise.len()).min(8 * BLOCK);
        images[segment].bytes[offset..end].copy_from_slice(&noise[..end - offset]);
        if zero {
            images[segment].bytes[offset..end].fill(0);
        }
        let (found, log) = read(&images);
        prop_assert!(whole.starts_with(&found));
        if let Ok(log) = log {
            let vouched = whole.iter().filter(|(end, _)| *end <= log.vouched).count();
            prop_assert!(found.len() >= vouched, "{} of {vouched} vouched records", found.len());
        }
    }
}
