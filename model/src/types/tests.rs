//! Types, their values, and the comparators against a second implementation from Cassandra's definitions.

use std::cmp::Ordering;

use proptest::prelude::*;
use uuid::Uuid;

use super::testing;
use super::*;
use crate::ModelError;

/// Cassandra's comparators as its classes define them, byte by byte.
fn defined(ty: &CqlType, a: &[u8], b: &[u8]) -> Ordering {
    if a.is_empty() || b.is_empty() {
        return a.len().min(1).cmp(&b.len().min(1));
    }
    let signed = |bytes: &[u8]| {
        bytes
            .iter()
            .fold(-i128::from(bytes[0] >> 7), |n, byte| n << 8 | i128::from(*byte))
    };
    match ty {
        CqlType::BigInt | CqlType::Timestamp | CqlType::Int | CqlType::SmallInt | CqlType::TinyInt => {
            signed(a).cmp(&signed(b))
        }
        CqlType::Boolean => (a[0] != 0).cmp(&(b[0] != 0)),
        CqlType::Float => {
            // Java: Float.compare
            let (a, b) = (
                f32::from_be_bytes(a.try_into().unwrap()),
                f32::from_be_bytes(b.try_into().unwrap()),
            );
            let bits = |v: f32| if v.is_nan() { 0x7fc0_0000 } else { v.to_bits() as i32 };
            if a < b {
                Ordering::Less
            } else if a > b {
                Ordering::Greater
            } else {
                bits(a).cmp(&bits(b))
            }
        }
        CqlType::Double => {
            let (a, b) = (
                f64::from_be_bytes(a.try_into().unwrap()),
                f64::from_be_bytes(b.try_into().unwrap()),
            );
            let bits = |v: f64| {
                if v.is_nan() {
                    0x7ff8_0000_0000_0000
                } else {
                    v.to_bits() as i64
                }
            };
            if a < b {
                Ordering::Less
            } else if a > b {
                Ordering::Greater
            } else {
                bits(a).cmp(&bits(b))
            }
        }
        CqlType::Varint => {
            // Both as long as the longer, the sign carried on; then unsigned with the sign turned round.
            let longest = a.len().max(b.len());
            let wide = |v: &[u8]| {
                let sign = if v[0] & 0x80 == 0 { 0x00 } else { 0xff };
                let mut wide = [vec![sign; longest - v.len()], v.to_vec()].concat();
                wide[0] ^= 0x80;
                wide
            };
            wide(a).cmp(&wide(b))
        }
        CqlType::Decimal => {
            // The difference of both at the larger scale; far apart, their sizes tell.
            let parts = |v: &[u8]| {
                let scale = i64::from(i32::from_be_bytes(v[..4].try_into().unwrap()));
                (scale, num_bigint::BigInt::from_signed_bytes_be(&v[4..]))
            };
            let ((a_scale, a), (b_scale, b)) = (parts(a), parts(b));
            let (zero, ten) = (num_bigint::BigInt::ZERO, num_bigint::BigInt::from(10));
            let up = |n: &num_bigint::BigInt, by: i64| n * ten.pow(u32::try_from(by.max(0)).unwrap());
            if a.sign() != b.sign() || a == zero || (a_scale - b_scale).abs() < 2_000 {
                let by = (a_scale - b_scale).clamp(-2_000, 2_000);
                return up(&a, -by).cmp(&up(&b, by));
            }
            // Of up to 620 digits: the smaller scale is the larger number.
            let larger = b_scale.cmp(&a_scale);
            if a > zero { larger } else { larger.reverse() }
        }
        CqlType::Tuple(types) => defined_fields(a, b, types.iter()),
        CqlType::Udt(ty) => defined_fields(a, b, ty.types()),
        CqlType::Duration => unreachable!("it has no order"),
        CqlType::Text | CqlType::Ascii | CqlType::Blob | CqlType::Date | CqlType::Time | CqlType::Inet => {
            for (x, y) in a.iter().zip(b) {
                if x != y {
                    return x.cmp(y);
                }
            }
            a.len().cmp(&b.len())
        }
        CqlType::Uuid => {
            let version = |v: &[u8]| v[6] >> 4;
            let time = |v: &[u8]| [v[6] & 0xf, v[7], v[4], v[5], v[0], v[1], v[2], v[3]];
            version(a)
                .cmp(&version(b))
                .then_with(|| {
                    if version(a) == 1 {
                        time(a).cmp(&time(b))
                    } else {
                        Ordering::Equal
                    }
                })
                .then_with(|| a.cmp(b))
        }
        CqlType::TimeUuid => {
            let time = |v: &[u8]| Uuid::from_slice(v).unwrap().get_timestamp().unwrap().to_gregorian().0;
            let low = |v: &[u8]| v[8..].iter().map(|byte| *byte as i8).collect::<Vec<_>>();
            time(a).cmp(&time(b)).then_with(|| low(a).cmp(&low(b)))
        }
        CqlType::Frozen(inner) => defined(inner, a, b),
        CqlType::List(of) | CqlType::Set(of) => defined_elements(a, b, &[of]),
        CqlType::Map(key, value) => defined_elements(a, b, &[key, value]),
    }
}

fn defined_elements(a: &[u8], b: &[u8], types: &[&CqlType]) -> Ordering {
    let split = |bytes: &[u8]| {
        let (mut rest, mut elements) = (&bytes[4..], Vec::new());
        while !rest.is_empty() {
            let len = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
            elements.push(rest[4..4 + len].to_vec());
            rest = &rest[4 + len..];
        }
        elements
    };
    let (a, b) = (split(a), split(b));
    for (index, (a, b)) in a.iter().zip(&b).enumerate() {
        let order = defined(types[index % types.len()], a, b);
        if order.is_ne() {
            return order;
        }
    }
    a.len().cmp(&b.len())
}

fn defined_fields<'t>(a: &[u8], b: &[u8], types: impl Iterator<Item = &'t CqlType>) -> Ordering {
    let split = |bytes: &[u8]| {
        let (mut rest, mut fields) = (bytes, Vec::new());
        while !rest.is_empty() {
            let len = i32::from_be_bytes(rest[..4].try_into().unwrap());
            let end = 4 + usize::try_from(len).unwrap_or(0);
            fields.push((len >= 0).then(|| rest[4..end].to_vec()));
            rest = &rest[end..];
        }
        fields.resize(8, None);
        fields
    };
    for (ty, (a, b)) in types.zip(split(a).into_iter().zip(split(b))) {
        let order = match (a, b) {
            (Some(a), Some(b)) => defined(ty, &a, &b),
            (a, b) => a.is_some().cmp(&b.is_some()),
        };
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}

fn cases() -> ProptestConfig {
    ProptestConfig::with_cases(if cfg!(debug_assertions) { 4_000 } else { 50_000 })
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn prop_order_is_cassandras((ty, values) in testing::values(2)) {
        prop_assert_eq!(ty.compare(&values[0], &values[1]), defined(&ty, &values[0], &values[1]));
    }

    #[test]
    fn prop_types_encode_and_decode(ty in testing::key_type(), rest in proptest::collection::vec(any::<u8>(), 0..4)) {
        let mut bytes = Vec::new();
        ty.encode(&mut bytes);
        let len = bytes.len();
        bytes.extend_from_slice(&rest);
        let mut input = &bytes[..];
        prop_assert_eq!(CqlType::decode(&mut input), Ok(ty));
        prop_assert_eq!(input, rest);
        for cut in 0..len {
            let mut input = &bytes[..cut];
            prop_assert!(CqlType::decode(&mut input).is_err());
            prop_assert_eq!(input.len(), cut, "a failed read takes nothing");
        }
    }

    #[test]
    fn prop_values_read_and_write((ty, values) in testing::values(1)) {
        ty.validate(&values[0]).unwrap();
        let canonical = ty.canonical(&values[0]).unwrap();
        let read = Value::decode(&ty, &canonical).unwrap();
        let written = read.encode(&ty).unwrap();
        // A true of another byte is written as 1; all else comes back as it was.
        prop_assert_eq!(ty.compare(&written, &canonical), Ordering::Equal);
        prop_assert_eq!(written.len(), canonical.len());
        prop_assert_eq!(&ty.canonical(&canonical).unwrap(), &canonical, "canonical bytes stay");
    }

    #[test]
    fn prop_decode_never_panics(ty in testing::key_type(), a in proptest::collection::vec(any::<u8>(), 0..40), b in proptest::collection::vec(0..3u8, 0..40)) {
        for bytes in [&a, &b] {
            let _ = CqlType::decode(&mut &bytes[..]);
            let legal = ty.validate(bytes).is_ok();
            prop_assert_eq!(Value::decode(&ty, bytes).is_ok(), legal);
            prop_assert_eq!(ty.canonical(bytes).is_ok(), legal);
        }
        let _ = ty.compare(&a, &b);
    }
}

#[test]
fn values_are_validated() {
    let v1 = Uuid::parse_str("c4e5b6f0-0000-11ee-8000-000000000001").unwrap();
    let v4 = Uuid::parse_str("c4e5b6f0-0000-41ee-8000-000000000001").unwrap();
    assert!(CqlType::TimeUuid.validate(v1.as_bytes()).is_ok());
    for (ty, bytes, says) in [
        (CqlType::BigInt, &[0u8; 4][..], "not 8 bytes"),
        (CqlType::Timestamp, &[0; 9], "not 8 bytes"),
        (CqlType::Int, &[0; 8], "not 4 bytes"),
        (CqlType::SmallInt, &[0], "not 2 bytes"),
        (CqlType::TinyInt, &[0, 0], "not 1 byte"),
        (CqlType::Boolean, &[0, 0], "not 1 byte"),
        (CqlType::Uuid, &[0; 15], "not 16 bytes"),
        (CqlType::TimeUuid, v4.as_bytes(), "version 1"),
        (CqlType::Text, &[0xc0], "UTF-8"),
        (CqlType::Text, &[0xed, 0xa0, 0x80], "UTF-8"),
        (CqlType::Ascii, &[0x80], "above 0x7f"),
        (CqlType::Date, &[0; 8], "not 4 bytes"),
        (CqlType::Time, &[0; 4], "not 8 bytes"),
        (CqlType::Time, &86_400_000_000_000_u64.to_be_bytes(), "within a day"),
        (CqlType::Time, &[0xff; 8], "within a day"),
        (CqlType::Inet, &[0; 5], "not 4 or 16 bytes"),
        (CqlType::Double, &[0; 4], "not 8 bytes"),
        (CqlType::Float, &[0; 8], "not 4 bytes"),
        (CqlType::Decimal, &[0; 4], "a scale of 4 bytes and an integer"),
        (CqlType::Decimal, &[1; 4 + 257], "above 256 bytes"),
        (CqlType::Int.set(), &[0, 0, 0, 1, 0, 0, 0, 2, 0, 0], "not 4 bytes"),
        (CqlType::Int.map(CqlType::Text), &[0, 0, 0, 1], "elements"),
        (CqlType::tuple([CqlType::Int]), &[0, 0, 0], "a field that is cut"),
        (CqlType::tuple([CqlType::Int]), &[0, 0, 0, 4, 1], "a field that is cut"),
        (
            CqlType::tuple([CqlType::Int]),
            &[0x7f, 0xff, 0xff, 0xff, 1],
            "a field that is cut",
        ),
        (CqlType::tuple([CqlType::Int]), &[0, 0, 0, 1, 1], "not 4 bytes"),
        (
            CqlType::tuple([CqlType::Int]).frozen(),
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            "more after the last field",
        ),
        (
            CqlType::udt(UserType::new("k", "u", [("a", CqlType::Text)])),
            &[0, 0, 0, 1, 0xc0],
            "UTF-8",
        ),
        (CqlType::Duration, &[], "of one sign"),
        (CqlType::Duration, &[2, 3, 0], "of one sign"),
        (CqlType::Duration.list(), &[0, 0, 0, 1, 0, 0, 0, 0], "of one sign"),
        (CqlType::Int.list().frozen(), &[0, 0, 0, 1], "elements"),
        (CqlType::Int.list(), &[0, 0, 0, 0, 0], "elements"),
        (CqlType::Int.list(), &[0xff, 0xff, 0xff, 0xff], "elements"),
        (CqlType::Int.list(), &[0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff], "elements"),
        (CqlType::Int.list(), &[0, 0, 0, 1, 0, 0, 0, 1, 7], "not 4 bytes"),
        (CqlType::Blob.map(CqlType::Blob), &[0, 0, 0, 1, 0, 0, 0, 0], "elements"),
        (
            CqlType::Blob.list(),
            &[0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff],
            "elements",
        ),
    ] {
        let error = ty.validate(bytes).expect_err(says).to_string();
        assert!(error.contains(says), "{ty} {bytes:?}: {error:?} does not say {says:?}");
    }
    for ty in testing::SIMPLE {
        assert_eq!(ty.validate(b""), Ok(()), "an empty {ty} is legal");
    }
}

#[test]
fn sets_and_maps_are_sorted_by_the_type() {
    let set = Value::Set(vec![Value::Int(3), Value::Int(-1), Value::Int(3), Value::Int(0)]);
    let ty = CqlType::Int.set().frozen();
    let sorted = Value::Set(vec![Value::Int(-1), Value::Int(0), Value::Int(3)]);
    assert_eq!(Value::decode(&ty, &set.encode(&ty).unwrap()).unwrap(), sorted);
    let ty = CqlType::Text.map(CqlType::Int.set());
    let entry = |key: &str, value: i32| {
        (
            Value::Text(key.to_string()),
            Value::Set(vec![Value::Int(value), Value::Int(1)]),
        )
    };
    let map = Value::Map(vec![entry("b", 5), entry("a", 7), entry("b", 0)]);
    let one = |key: &str, values: [i32; 2]| {
        (
            Value::Text(key.to_string()),
            Value::Set(values.map(Value::Int).to_vec()),
        )
    };
    let sorted = Value::Map(vec![one("a", [1, 7]), one("b", [0, 1])]);
    assert_eq!(
        Value::decode(&ty, &map.encode(&ty).unwrap()).unwrap(),
        sorted,
        "of equal keys the last stays"
    );
}

#[test]
fn types_read_as_cql_writes_them() {
    let ty = CqlType::Text.map(CqlType::TimeUuid.list().frozen());
    assert_eq!(ty.to_string(), "map<text, frozen<list<timeuuid>>>");
    assert!(matches!(
        Value::Int(1).encode(&CqlType::Text),
        Err(ModelError::Value { .. })
    ));
}

#[test]
fn values_of_all_types_are_read() {
    let address = |text: &str| Value::Inet(text.parse().unwrap());
    for (ty, value, bytes) in [
        (CqlType::Date, Value::Date((1 << 31) + 1), &[0x80, 0, 0, 1][..]),
        (CqlType::Time, Value::Time(1), &[0, 0, 0, 0, 0, 0, 0, 1]),
        (CqlType::Inet, address("127.0.0.1"), &[127, 0, 0, 1]),
        (
            CqlType::Inet,
            address("::1"),
            &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        ),
        (CqlType::Varint, Value::Varint(vec![0, 0, 7]), &[0, 0, 7]),
        (
            CqlType::Decimal,
            Value::Decimal {
                scale: 2,
                unscaled: vec![100],
            },
            &[0, 0, 0, 2, 100],
        ),
        (
            CqlType::tuple([CqlType::TinyInt, CqlType::Text, CqlType::Int]),
            Value::Tuple(vec![None, Some(Value::Text("a".to_owned()))]),
            &[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, b'a'],
        ),
        (
            CqlType::Duration,
            Value::Duration(Duration {
                months: 1,
                days: 2,
                nanos: 3,
            }),
            &[2, 4, 6],
        ),
    ] {
        assert_eq!(value.encode(&ty).unwrap(), bytes, "{ty}");
        assert_eq!(Value::decode(&ty, bytes).unwrap(), value, "{ty}");
        let mut tagged = Vec::new();
        ty.encode(&mut tagged);
        assert_eq!(CqlType::decode(&mut &tagged[..]), Ok(ty));
    }
}

#[test]
fn durations_are_in_no_key() {
    use crate::Schema;
    let table = |ty: CqlType| {
        Schema::builder("k", "t")
            .partition_key("p", CqlType::Int)
            .regular("v", ty)
            .build()
    };
    for ty in [
        CqlType::Duration,
        CqlType::Duration.list(),
        CqlType::Text.map(CqlType::Duration),
    ] {
        assert!(table(ty.clone()).is_ok(), "{ty}");
    }
    for ty in [
        CqlType::Duration.set(),
        CqlType::Duration.map(CqlType::Int),
        CqlType::Duration.list().set().frozen(),
        CqlType::Duration.list().frozen().map(CqlType::Int),
        CqlType::Duration.set().list().frozen(),
    ] {
        let refused = table(ty.clone()).expect_err("refused").to_string();
        assert!(refused.contains("no order"), "{ty}: {refused}");
    }
    let keyed = |ty: CqlType| Schema::builder("k", "t").partition_key("p", ty).build();
    let clustered = |ty: CqlType| {
        Schema::builder("k", "t")
            .partition_key("p", CqlType::Int)
            .clustering("c", ty)
            .build()
    };
    for ty in [CqlType::Duration, CqlType::Duration.list().frozen()] {
        for refused in [keyed(ty.clone()), clustered(ty.clone())] {
            let refused = refused.expect_err("refused").to_string();
            assert!(refused.contains("no order"), "{ty}: {refused}");
        }
    }
}

/// The tags are stored: these bytes must be read for ever.
#[test]
fn tags_are_stable() {
    let tags: Vec<u8> = testing::SIMPLE.iter().map(CqlType::tag).collect();
    assert_eq!(
        tags,
        [
            0x02, 0x09, 0x13, 0x14, 0x04, 0x08, 0x07, 0x0d, 0x01, 0x03, 0x0c, 0x0f, 0x0b, 0x11, 0x12, 0x10, 0x0e, 0x06
        ]
    );
    let mut bytes = Vec::new();
    CqlType::Text
        .map(CqlType::Int.set().frozen())
        .list()
        .frozen()
        .encode(&mut bytes);
    assert_eq!(bytes, [0x80, 0x20, 0x21, 0x0d, 0x80, 0x22, 0x09]);
    let mut bytes = Vec::new();
    CqlType::tuple([CqlType::Int, CqlType::Decimal]).encode(&mut bytes);
    assert_eq!(bytes, [0x31, 2, 0x09, 0x06]);
    bytes.clear();
    let user = UserType::new("k", "u", [("a", CqlType::Text)]);
    CqlType::udt(user).frozen().encode(&mut bytes);
    assert_eq!(bytes, [0x80, 0x30, 1, b'k', 1, b'u', 1, 1, b'a', 0x0d]);
    for reserved in [0x00, 0x05, 0x81, 0x82] {
        assert_eq!(
            CqlType::decode(&mut &[reserved, 0x09][..]),
            Err(ModelError::UnknownType { tag: reserved })
        );
    }
    assert!(CqlType::decode(&mut &[0x20; 64][..]).is_err(), "nesting is bounded");
}

#[test]
fn types_that_cannot_be_are_refused() {
    let user = |ty: CqlType| CqlType::udt(UserType::new("k", "u", [("a", ty)]));
    let table = |ty: CqlType| {
        crate::Schema::builder("k", "t")
            .partition_key("p", CqlType::Int)
            .regular("v", ty)
            .build()
    };
    let pair = CqlType::tuple([CqlType::Int, CqlType::Text.list()]);
    for legal in [
        pair.clone(),
        pair.clone().frozen(),
        pair.clone().list(),
        user(CqlType::Int),
        user(CqlType::Int.list().frozen()),
        user(pair.clone()),
        user(CqlType::Int.list()).frozen(),
        user(CqlType::Int).frozen().set(),
    ] {
        table(legal).expect("legal");
    }
    for (ty, says) in [
        (user(CqlType::Int).list(), "inside one that is not frozen"),
        (user(CqlType::Int.list()), "inside one that is not frozen"),
        (user(user(CqlType::Int)), "inside one that is not frozen"),
        (CqlType::tuple([]), "none or more than 32767 fields"),
        (
            CqlType::tuple(vec![CqlType::Int; 40_000]),
            "none or more than 32767 fields",
        ),
        (
            CqlType::udt(UserType::new("k", "u", [])),
            "none or more than 32767 fields",
        ),
        (
            CqlType::udt(UserType::new("k", "", [("a", CqlType::Int)])),
            "empty name",
        ),
        (
            CqlType::udt(UserType::new("k", "u", [("a", CqlType::Int), ("a", CqlType::Int)])),
            "two fields of one name",
        ),
        (CqlType::Int.frozen(), "neither collection, tuple nor user-defined type"),
        (CqlType::tuple([CqlType::Duration]).set(), "no order"),
    ] {
        let refused = table(ty.clone()).expect_err("refused").to_string();
        assert!(refused.contains(says), "{ty}: {refused:?} does not say {says:?}");
    }
    let mut deep = CqlType::Int;
    for _ in 0..TYPE_DEPTH_MAX {
        deep = CqlType::tuple([deep]);
    }
    assert!(
        table(deep.clone())
            .expect_err("refused")
            .to_string()
            .contains("nested too deeply")
    );
    let mut bytes = Vec::new();
    deep.encode(&mut bytes);
    assert!(CqlType::decode(&mut &bytes[..]).is_err());
}
