//! Tests of definitions and keys.

use proptest::prelude::*;

use super::*;

fn messages() -> Schema {
    Schema::builder("chat", "messages")
        .id(TableId(7))
        .partition_key("channel_id", CqlType::BigInt)
        .partition_key("bucket_id", CqlType::Int)
        .clustering_desc("message_id", CqlType::BigInt)
        .static_column("topic", CqlType::Text)
        .regular("author_id", CqlType::BigInt)
        .regular("content", CqlType::Text)
        .regular("attachments", CqlType::Text.list().frozen())
        .build()
        .unwrap()
}

#[test]
fn encodes_and_decodes() {
    let mut schema = messages();
    schema.options.comment = "chat".to_string();
    schema.options.compression = Compression::None;
    schema.options.gc_grace_seconds = 3_600;
    let compaction = [("class", "SizeTieredCompactionStrategy"), ("min_threshold", "6")];
    schema.options.compaction = compaction.map(|(name, value)| (name.into(), value.into())).into();
    schema
        .options
        .other
        .push(("speculative_retry".to_string(), "'NONE'".to_string()));
    schema.dropped.push(DroppedColumn {
        column: Column {
            id: ColumnId(7),
            name: "old".to_string(),
            ty: CqlType::Text.map(CqlType::Int),
        },
        is_static: false,
        dropped_at: -5,
    });
    schema.next_column = ColumnId(8);
    let bytes = schema.encode();
    assert_eq!(Schema::decode(&bytes).unwrap(), schema);
    for len in 0..bytes.len() {
        // The options may end early: the bytes' own end is theirs.
        if let Ok(read) = Schema::decode(&bytes[..len]) {
            assert_eq!(read.columns().count(), schema.columns().count(), "cut at {len}");
        }
    }
}

#[test]
fn newer_versions_are_told_apart_from_damage() {
    let mut bytes = messages().encode();
    bytes[0] = 2;
    assert_eq!(
        Schema::decode(&bytes),
        Err(ModelError::TooNew {
            what: "schema",
            found: 2,
            newest_known: 1
        })
    );
    bytes[0] = 0;
    assert!(matches!(Schema::decode(&bytes), Err(ModelError::Corrupt { .. })));
}

#[test]
fn partition_keys_are_cassandras() {
    let schema = messages();
    let (channel, bucket) = (5i64.to_be_bytes(), 2i32.to_be_bytes());
    let key = schema.partition_key_bytes(&[&channel, &bucket]).unwrap();
    assert_eq!(key, [0, 8, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 4, 0, 0, 0, 2, 0]);
    assert_eq!(schema.split_partition_key(&key).unwrap(), [&channel[..], &bucket]);
    for len in 0..key.len() {
        assert!(schema.split_partition_key(&key[..len]).is_err(), "cut at {len}");
    }
    let one = Schema::builder("k", "t")
        .partition_key("p", CqlType::Text)
        .build()
        .unwrap();
    assert_eq!(one.partition_key_bytes(&[b"abc"]).unwrap(), b"abc");
    assert!(matches!(one.partition_key_bytes(&[b""]), Err(ModelError::Key { .. })));
    assert!(matches!(one.partition_key_bytes(&[]), Err(ModelError::Key { .. })));
    assert!(matches!(
        one.partition_key_bytes(&[b"\xff"]),
        Err(ModelError::Value { .. })
    ));
    assert_eq!(
        one.partition_key_bytes(&[&[b'a'; KEY_BYTES_MAX]]).unwrap().len(),
        KEY_BYTES_MAX
    );
    assert!(matches!(
        one.partition_key_bytes(&[&[b'a'; KEY_BYTES_MAX + 1]]),
        Err(ModelError::Key { .. })
    ));
}

#[test]
fn clustering_newest_first() {
    let schema = messages();
    let key = |id: i64| schema.encode_clustering(&[&id.to_be_bytes()]).unwrap();
    assert!(key(2) < key(1) && key(0) < key(-1) && key(i64::MAX) < key(i64::MAX - 1));
    assert_eq!(
        schema.decode_clustering(&key(5)).unwrap(),
        [5i64.to_be_bytes().to_vec()]
    );
    assert_eq!(schema.decode_clustering(&[]).unwrap(), Vec::<Vec<u8>>::new());
    let after = [key(5), vec![0xff]].concat();
    assert_eq!(
        schema.decode_position(&after).unwrap(),
        (vec![5i64.to_be_bytes().to_vec()], true)
    );
    assert_eq!(schema.decode_position(&[0xff]).unwrap(), (Vec::new(), true));
    assert!(schema.is_clustering_key(&key(5)) && !schema.is_clustering_key(&[]) && !schema.is_clustering_key(&after));
}

#[test]
fn refuses_illegal_definitions() {
    let base = || Schema::builder("k", "t").partition_key("p", CqlType::Int);
    let many = "n".repeat(49);
    for (builder, says) in [
        (Schema::builder("k", "t").regular("v", CqlType::Int), "no partition key"),
        (
            Schema::builder("", "t").partition_key("p", CqlType::Int),
            "keyspace name",
        ),
        (
            Schema::builder("k", "t-t").partition_key("p", CqlType::Int),
            "table name",
        ),
        (
            Schema::builder("k", &many).partition_key("p", CqlType::Int),
            "table name",
        ),
        (base().regular("p", CqlType::Int), "share a name"),
        (base().regular("", CqlType::Int), "is empty"),
        (base().static_column("s", CqlType::Int), "no clustering column"),
        (base().clustering("c", CqlType::Int.list()), "not frozen"),
        (
            Schema::builder("k", "t").partition_key("p", CqlType::Int.set()),
            "not frozen",
        ),
        (
            base().regular("v", CqlType::Int.list().list()),
            "inside one that is not frozen",
        ),
        (base().regular("v", CqlType::Int.frozen()), "neither collection"),
        (
            base().regular("v", (0..20).fold(CqlType::Int, |ty, _| ty.list()).frozen()),
            "too deeply",
        ),
    ] {
        let error = builder.clone().build().expect_err(says).to_string();
        assert!(error.contains(says), "{error:?} does not say {says:?}");
    }
    assert!(
        base()
            .clustering("c", CqlType::Int.list().list().frozen())
            .build()
            .is_ok()
    );
    let mut reused = base().regular("v", CqlType::Int).build().unwrap();
    reused.next_column = ColumnId(1);
    assert!(
        reused.validate().is_err(),
        "an id above next_column was never given out"
    );
    reused.next_column = ColumnId(9);
    let column = reused.regulars[0].clone();
    reused.dropped.push(DroppedColumn {
        column,
        is_static: false,
        dropped_at: 0,
    });
    assert!(reused.validate().is_err(), "a dropped id must not come back");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 3_000 } else { 50_000 }))]

    #[test]
    fn prop_decode_never_panics(
        at in any::<prop::sample::Index>(),
        bits in 1..=255u8,
        noise in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut bytes = messages().encode();
        let at = at.index(bytes.len());
        bytes[at] ^= bits;
        for bytes in [&bytes[..], &bytes[..at], &noise, &[&bytes[..at], &noise].concat(), &[&[1], &noise[..]].concat()] {
            if let Ok(schema) = Schema::decode(bytes) {
                schema.validate().unwrap();
                prop_assert_eq!(Schema::decode(&schema.encode()).unwrap(), schema);
            }
        }
    }

    #[test]
    fn prop_partition_keys_split(
        types in proptest::collection::vec(crate::types::testing::key_type(), 1..4),
        noise in proptest::collection::vec(any::<u8>(), 0..40),
        seed in any::<prop::sample::Index>(),
    ) {
        let mut builder = Schema::builder("k", "t");
        for (index, ty) in types.iter().enumerate() {
            builder = builder.partition_key(&format!("p{index}"), ty.clone());
        }
        let schema = builder.build().unwrap();
        if let Ok(values) = schema.split_partition_key(&noise) {
            prop_assert_eq!(schema.partition_key_bytes(&values).unwrap(), noise.clone());
        }
        let values: Vec<Vec<u8>> = types.iter().map(|ty| match ty {
            CqlType::Text | CqlType::Ascii => vec![b'a'; seed.index(300) + 1],
            CqlType::Blob => noise.clone(),
            _ => Vec::new(),
        }).collect();
        let slices: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
        if let Ok(key) = schema.partition_key_bytes(&slices) {
            prop_assert_eq!(schema.split_partition_key(&key).unwrap(), slices);
        }
    }
}

/// The bytes of version 1: they are stored and must be read for ever.
#[test]
fn known_bytes() {
    let schema = Schema::builder("k", "t")
        .id(TableId(7))
        .partition_key("p", CqlType::BigInt)
        .clustering_desc("c", CqlType::BigInt)
        .regular("v", CqlType::Text)
        .build()
        .unwrap();
    assert_eq!(
        schema.encode(),
        [
            1, 7, 1, b'k', 1, b't', 3, // version, table, names, next column
            1, 0, 1, b'p', 0x02, // partition key
            1, 1, 1, b'c', 0x02, 1, // clustering
            0, // statics
            1, 2, 1, b'v', 0x0d, // regulars
            0,    // dropped
            1, 3, 0x80, 0xde, 0x34, 2, 1, 0, 3, 1, 1, 4, 0, 5, 1, 0, // options
        ]
    );
}
