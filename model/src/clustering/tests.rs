//! The laws of the order-preserving encoding, for each type against its comparator.

use proptest::prelude::*;

use super::*;
use crate::types::testing;
use crate::{CqlType, Schema};

fn encoded(ty: &CqlType, value: &[u8], descending: bool) -> Vec<u8> {
    let mut out = Vec::new();
    encode_component(ty, value, descending, &mut out).unwrap();
    out
}

/// All laws of two values of one type.
fn check_pair(ty: &CqlType, a: &[u8], b: &[u8]) {
    let order = ty.compare(a, b);
    for descending in [false, true] {
        let expected = if descending { order.reverse() } else { order };
        let (x, y) = (encoded(ty, a, descending), encoded(ty, b, descending));
        assert_eq!(
            x.cmp(&y),
            expected,
            "{ty} desc {descending}: {a:02x?} {x:02x?} and {b:02x?} {y:02x?}"
        );
        assert!(
            x == y || !y.starts_with(&x),
            "{ty}: {x:02x?} is the beginning of {y:02x?}"
        );
        assert!((0x01..=0xfe).contains(&x[0]), "{ty}: marker {:#04x}", x[0]);
        let mut rest = &x[..];
        let back = decode_component(ty, descending, &mut rest).unwrap();
        assert!(rest.is_empty());
        assert!(ty.compare(&back, a).is_eq(), "{ty}: {a:02x?} came back as {back:02x?}");
        assert_eq!(
            encoded(ty, &back, descending),
            x,
            "{ty}: what comes back has the same encoding"
        );
        if !has_other_forms(ty) {
            assert_eq!(back, a, "{ty}: bytes come back as they were");
        }
    }
}

/// Whether values that differ in bytes may compare equal.
fn has_other_forms(ty: &CqlType) -> bool {
    match ty {
        CqlType::Boolean | CqlType::Float | CqlType::Double | CqlType::Varint | CqlType::Decimal => true,
        CqlType::Tuple(_) | CqlType::Udt(_) => true,
        CqlType::List(of) | CqlType::Set(of) | CqlType::Frozen(of) => has_other_forms(of),
        CqlType::Map(key, value) => has_other_forms(key) || has_other_forms(value),
        _ => false,
    }
}

fn cases(factor: u32) -> ProptestConfig {
    ProptestConfig::with_cases(factor * if cfg!(debug_assertions) { 200 } else { 20_000 })
}

macro_rules! order_of {
    ($($name:ident: $ty:expr,)*) => {
        proptest! {
            #![proptest_config(cases(4))]
            $(#[test]
            fn $name(a in testing::value(&$ty), b in testing::value(&$ty)) {
                check_pair(&$ty, &a, &b);
            })*
        }
    };
}

order_of! {
    prop_order_of_bigint: CqlType::BigInt,
    prop_order_of_int: CqlType::Int,
    prop_order_of_smallint: CqlType::SmallInt,
    prop_order_of_tinyint: CqlType::TinyInt,
    prop_order_of_boolean: CqlType::Boolean,
    prop_order_of_float: CqlType::Float,
    prop_order_of_double: CqlType::Double,
    prop_order_of_text: CqlType::Text,
    prop_order_of_ascii: CqlType::Ascii,
    prop_order_of_blob: CqlType::Blob,
    prop_order_of_uuid: CqlType::Uuid,
    prop_order_of_timeuuid: CqlType::TimeUuid,
    prop_order_of_timestamp: CqlType::Timestamp,
    prop_order_of_date: CqlType::Date,
    prop_order_of_time: CqlType::Time,
    prop_order_of_inet: CqlType::Inet,
    prop_order_of_varint: CqlType::Varint,
    prop_order_of_decimal: CqlType::Decimal,
    prop_order_of_tuple: CqlType::tuple([CqlType::Int, CqlType::Text, CqlType::Decimal]),
    prop_order_of_udt: CqlType::udt(crate::UserType::new("k", "u", [("a", CqlType::Blob), ("b", CqlType::TinyInt.list())])).frozen(),
    prop_order_of_frozen_list: CqlType::Text.list().frozen(),
    prop_order_of_frozen_set: CqlType::Float.set().frozen(),
    prop_order_of_frozen_map: CqlType::Blob.map(CqlType::TinyInt).frozen(),
    prop_order_of_nested: CqlType::Blob.list().map(CqlType::TinyInt.set()).frozen(),
}

fn table(columns: &[(CqlType, bool)]) -> Schema {
    let mut builder = Schema::builder("k", "t").partition_key("p", CqlType::Int);
    for (index, (ty, descending)) in columns.iter().enumerate() {
        let name = format!("c{index}");
        builder = match descending {
            true => builder.clustering_desc(&name, ty.clone()),
            false => builder.clustering(&name, ty.clone()),
        };
    }
    builder.build().unwrap()
}

/// A table of some clustering columns, with three keys.
fn keys() -> impl Strategy<Value = (Schema, Vec<Vec<Vec<u8>>>)> {
    proptest::collection::vec((testing::key_type(), any::<bool>()), 1..4).prop_flat_map(|columns| {
        let key: Vec<_> = columns.iter().map(|(ty, _)| testing::value(ty)).collect();
        (Just(table(&columns)), proptest::collection::vec(key, 3))
    })
}

fn slices(values: &[Vec<u8>]) -> Vec<&[u8]> {
    values.iter().map(Vec::as_slice).collect()
}

proptest! {
    #![proptest_config(cases(10))]

    #[test]
    fn prop_keys_sort_column_by_column((schema, keys) in keys()) {
        let (a, b) = (&keys[0], &keys[1]);
        let mut expected = std::cmp::Ordering::Equal;
        for (column, (a, b)) in schema.clustering.iter().zip(a.iter().zip(b)) {
            let order = column.column.ty.compare(a, b);
            expected = expected.then(if column.descending { order.reverse() } else { order });
        }
        let (x, y) = (schema.encode_clustering(&slices(a)).unwrap(), schema.encode_clustering(&slices(b)).unwrap());
        prop_assert_eq!(x.cmp(&y), expected);
        prop_assert!(x == y || !x.starts_with(&y), "a full key is no beginning of another");
    }

    /// A prefix P lies before all keys that begin with its values, P 0xFF after them, and neither among the others.
    #[test]
    fn prop_prefixes_bound_their_keys((schema, keys) in keys(), len in 0..4usize) {
        let (prefix, other) = (&keys[0], &keys[1]);
        let len = len.min(prefix.len());
        let start = schema.encode_clustering(&slices(&prefix[..len])).unwrap();
        let end = [&start[..], &[0xff]].concat();
        prop_assert_eq!(schema.decode_position(&start).unwrap().0.len(), len);
        prop_assert_eq!(schema.decode_position(&end).unwrap(), (schema.decode_clustering(&start).unwrap(), true));
        let mut inside = prefix[..len].to_vec();
        inside.extend_from_slice(&other[len..]);
        for key in [&inside, other, &keys[2]] {
            let begins = schema.clustering.iter().zip(key.iter().zip(&prefix[..len])).all(|(c, (a, b))| c.column.ty.compare(a, b).is_eq());
            let key = schema.encode_clustering(&slices(key)).unwrap();
            prop_assert_eq!(start <= key && key < end, begins);
            prop_assert!(key.is_empty() || key[0] != 0xff);
        }
    }

    #[test]
    fn prop_decode_never_panics(
        (schema, keys) in keys(),
        at in any::<prop::sample::Index>(),
        bits in 1..=255u8,
        noise in proptest::collection::vec(any::<u8>(), 0..30),
    ) {
        let mut key = schema.encode_clustering(&slices(&keys[0])).unwrap();
        let at = at.index(key.len());
        key[at] ^= bits;
        for bytes in [&key[..], &key[..at], &noise, &[&key[..at], &noise].concat()] {
            let _ = schema.decode_position(bytes);
            let _ = schema.split_partition_key(bytes);
            for (column, descending) in schema.clustering.iter().map(|c| (&c.column, c.descending)) {
                let mut rest = bytes;
                if let Ok(value) = decode_component(&column.ty, descending, &mut rest) {
                    // Whatever is read is a legal value with just these bytes.
                    column.ty.validate(&value).unwrap();
                    prop_assert_eq!(&encoded(&column.ty, &value, descending)[..], &bytes[..bytes.len() - rest.len()]);
                } else {
                    prop_assert_eq!(rest.len(), bytes.len(), "a failed read takes nothing");
                }
            }
            if let Ok(values) = schema.decode_clustering(bytes) {
                prop_assert_eq!(schema.encode_clustering(&slices(&values)).unwrap(), bytes);
            }
        }
    }

    #[test]
    fn prop_paths_read_back((ty, values) in testing::values(2)) {
        let path = |value: &[u8]| {
            let mut out = Vec::new();
            ty.encode_path(value, &mut out).unwrap();
            out
        };
        let (a, b) = (path(&values[0]), path(&values[1]));
        prop_assert_eq!(a.cmp(&b), ty.compare(&values[0], &values[1]));
        prop_assert!(ty.compare(&ty.decode_path(&a).unwrap(), &values[0]).is_eq());
        prop_assert!(ty.decode_path(&[a, vec![0]].concat()).is_err());
    }
}

/// The bytes of `docs/semantics/clustering-order.md`'s examples: they are stored and must not change.
#[test]
fn known_bytes() {
    for (ty, value, descending, bytes) in [
        (
            CqlType::BigInt,
            &[0, 0, 0, 0, 0, 0, 0, 5][..],
            false,
            &[0x04, 0x80, 0, 0, 0, 0, 0, 0, 5][..],
        ),
        (
            CqlType::BigInt,
            &[0, 0, 0, 0, 0, 0, 0, 5],
            true,
            &[0xfb, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfa],
        ),
        (
            CqlType::Decimal,
            &[0, 0, 0, 2, 100],
            false,
            &[0x04, 0xc0, 0x80, 0, 0, 1, 2, 0],
        ),
        (
            CqlType::Decimal,
            &[0, 0, 0, 2, 0xcf, 0xc7],
            false,
            &[0x04, 0x40, 0x7f, 0xff, 0xff, 0xfd, 0xfd, 0xe7, 0xd1, 0xff],
        ),
        (
            CqlType::tuple([CqlType::Int, CqlType::Text]),
            &[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, b'a'],
            false,
            &[0x04, 0x02, 0x04, b'a', 0, 1],
        ),
        (CqlType::Int, &[], false, &[0x03]),
        (CqlType::Int, &[], true, &[0xfc]),
        (CqlType::Boolean, &[7], false, &[0x04, 0x01]),
        (CqlType::Float, &[0x80, 0, 0, 0], false, &[0x04, 0x7f, 0xff, 0xff, 0xff]),
        (
            CqlType::Float,
            &[0xff, 0xff, 0xff, 0xff],
            false,
            &[0x04, 0xff, 0xc0, 0, 0],
        ),
        (CqlType::Text, b"a\0b", false, &[0x04, b'a', 0x01, 0x01, b'b', 0x00]),
        (CqlType::Blob, &[0x01, 0xff], true, &[0xfb, 0xfe, 0xfd, 0x00, 0xff]),
        (
            CqlType::Uuid,
            &[0, 1, 2, 3, 4, 5, 0x46, 7, 8, 9, 10, 11, 12, 13, 14, 15],
            false,
            &[
                0x04, 0x40, 0x00, 0x10, 0x20, 0x30, 0x40, 0x56, 0x07, 8, 9, 10, 11, 12, 13, 14, 15,
            ],
        ),
        (
            CqlType::TimeUuid,
            &[0, 1, 2, 3, 4, 5, 0x16, 7, 0x88, 9, 10, 11, 12, 13, 14, 15],
            false,
            &[
                0x04, 0x16, 7, 4, 5, 0, 1, 2, 3, 0x08, 0x89, 0x8a, 0x8b, 0x8c, 0x8d, 0x8e, 0x8f,
            ],
        ),
        (CqlType::Date, &[0x80, 0, 0, 1], true, &[0xfb, 0x7f, 0xff, 0xff, 0xfe]),
        (
            CqlType::Time,
            &[0, 0, 0, 0, 0, 0, 0, 9],
            false,
            &[0x04, 0, 0, 0, 0, 0, 0, 0, 9],
        ),
        (CqlType::Inet, &[127, 0, 0, 1], false, &[0x04, 127, 1, 1, 1, 1, 1, 2, 0]),
        (CqlType::Varint, &[0, 0, 5], false, &[0x04, 0x81, 5]),
        (CqlType::Varint, &[0xff], false, &[0x04, 0x7e, 0xff]),
        (CqlType::Varint, &[0x80, 0], false, &[0x04, 0x7d, 0x80, 0]),
        (
            CqlType::TinyInt.list().frozen(),
            &[0, 0, 0, 2, 0, 0, 0, 1, 9, 0, 0, 0, 0],
            false,
            &[0x04, 0x04, 0x89, 0x03, 0x01],
        ),
    ] {
        assert_eq!(encoded(&ty, value, descending), bytes, "{ty} {value:02x?}");
    }
}

#[test]
fn refuses_illegal_values() {
    let schema = table(&[(CqlType::Int, false)]);
    assert!(schema.encode_clustering(&[&[1, 2, 3]]).is_err());
    assert!(schema.encode_clustering(&[&[0; 4], &[0; 4]]).is_err());
    let text = table(&[(CqlType::Text.list().frozen(), false)]);
    assert!(text.encode_clustering(&[&[0, 0, 0, 1, 0, 0, 0, 1, 0xff]]).is_err());
    assert!(text.encode_clustering(&[&[0, 0, 0, 2, 0, 0, 0, 1, b'a']]).is_err());
    assert!(
        table(&[(CqlType::Blob, false)])
            .encode_clustering(&[&[7; 65_536]])
            .is_err()
    );
}
