//! Random types and values, for the property tests of this crate.

use proptest::prelude::*;

use super::elements::put_elements;
use super::fields::put_field;
use super::{CqlType, UserType};

/// Every type that has an order and is not a collection.
pub(crate) const SIMPLE: [CqlType; 18] = [
    CqlType::BigInt,
    CqlType::Int,
    CqlType::SmallInt,
    CqlType::TinyInt,
    CqlType::Boolean,
    CqlType::Float,
    CqlType::Double,
    CqlType::Text,
    CqlType::Ascii,
    CqlType::Blob,
    CqlType::Uuid,
    CqlType::TimeUuid,
    CqlType::Timestamp,
    CqlType::Date,
    CqlType::Time,
    CqlType::Inet,
    CqlType::Varint,
    CqlType::Decimal,
];

/// A type that a key column may have.
pub(crate) fn key_type() -> impl Strategy<Value = CqlType> {
    let simple = proptest::sample::select(SIMPLE.to_vec());
    let nested = simple.clone().prop_recursive(3, 6, 2, |inner| {
        prop_oneof![
            inner.clone().prop_map(CqlType::list),
            inner.clone().prop_map(CqlType::set),
            (inner.clone(), inner.clone()).prop_map(|(key, value)| key.map(value)),
            proptest::collection::vec(inner.clone(), 1..4).prop_map(CqlType::tuple),
            (inner.clone(), inner).prop_map(|(a, b)| CqlType::udt(UserType::new("k", "u", [("a", a), ("b", b)]))),
        ]
    });
    prop_oneof![3 => simple, 2 => nested.prop_map(|ty| if ty.is_multi_cell() { ty.frozen() } else { ty })]
}

/// Bytes of some width: few values that are close to each other, the ends, or any.
fn number(width: usize) -> BoxedStrategy<Vec<u8>> {
    let bytes = move |value: i128| value.to_be_bytes()[16 - width..].to_vec();
    prop_oneof![
        2 => (-3..3i128).prop_map(bytes),
        1 => Just(bytes(i128::from(i64::MIN) >> (64 - 8 * width))),
        1 => Just(bytes(i128::from(i64::MAX) >> (64 - 8 * width))),
        3 => proptest::collection::vec(any::<u8>(), width),
    ]
    .boxed()
}

/// Integers of all lengths, some with more bytes than they need.
fn varint() -> BoxedStrategy<Vec<u8>> {
    let length = prop_oneof![8 => 1..4usize, 2 => 1..20usize, 1 => 124..132usize];
    let bytes = length.prop_flat_map(|length| {
        let byte = prop_oneof![1 => proptest::sample::select(vec![0x00u8, 0x01, 0x7f, 0x80, 0xff]), 1 => any::<u8>()];
        proptest::collection::vec(byte, length)
    });
    (bytes, 0..3usize)
        .prop_map(|(bytes, more)| {
            let sign = if bytes[0] & 0x80 == 0 { 0x00 } else { 0xff };
            [vec![sign; more], bytes].concat()
        })
        .boxed()
}

/// Numbers that are often equal in different forms; and long ones, and those of extreme scales.
fn decimal() -> BoxedStrategy<Vec<u8>> {
    let near = (-3..4i32, -200..200i64, 0..3u32).prop_map(|(scale, unscaled, zeros)| {
        let unscaled = num_bigint::BigInt::from(unscaled * 10_i64.pow(zeros));
        (scale + zeros as i32, unscaled.to_signed_bytes_be())
    });
    let scale = prop_oneof![
        -40..40i32,
        Just(i32::MIN),
        Just(i32::MIN + 1),
        Just(i32::MAX),
        any::<i32>()
    ];
    let far = (
        scale,
        prop_oneof![4 => varint(), 1 => proptest::collection::vec(any::<u8>(), 250..257)],
    );
    prop_oneof![2 => near, 1 => far]
        .prop_map(|(scale, unscaled)| [&scale.to_be_bytes()[..], &unscaled].concat())
        .boxed()
}

fn fields<'t>(types: impl Iterator<Item = &'t CqlType>) -> BoxedStrategy<Vec<u8>> {
    let fields: Vec<_> = types.map(|ty| proptest::option::weighted(0.7, value(ty))).collect();
    let len = fields.len();
    (fields, 0..=len)
        .prop_map(|(fields, there)| {
            let mut out = Vec::new();
            fields[..there]
                .iter()
                .for_each(|field| put_field(&mut out, field.as_deref()));
            out
        })
        .boxed()
}

fn uuid(version: impl Strategy<Value = u8> + 'static) -> BoxedStrategy<Vec<u8>> {
    let byte = prop_oneof![2 => proptest::sample::select(vec![0x00u8, 0x01, 0x7f, 0x80, 0xff]), 1 => any::<u8>()];
    (proptest::collection::vec(byte, 16), version)
        .prop_map(|(mut bytes, version)| {
            bytes[6] = version << 4 | (bytes[6] & 0xf);
            bytes
        })
        .boxed()
}

/// A legal value of the type.
pub(crate) fn value(ty: &CqlType) -> BoxedStrategy<Vec<u8>> {
    let float = |specials: Vec<Vec<u8>>, width| {
        prop_oneof![1 => proptest::sample::select(specials), 1 => number(width)].boxed()
    };
    let some = match ty {
        CqlType::BigInt | CqlType::Timestamp => number(8),
        CqlType::Int | CqlType::Date => number(4),
        CqlType::Time => prop_oneof![
            0..3u64,
            86_399_999_999_997..86_400_000_000_000u64,
            0..86_400_000_000_000u64
        ]
        .prop_map(|nanos| nanos.to_be_bytes().to_vec())
        .boxed(),
        CqlType::Inet => {
            let wide = proptest::collection::vec(proptest::sample::select(vec![0u8, 1, 2, 0xff]), 16);
            prop_oneof![number(4).boxed(), wide.boxed()].boxed()
        }
        CqlType::Varint => varint(),
        CqlType::Decimal => decimal(),
        CqlType::Tuple(types) => fields(types.iter()),
        CqlType::Udt(ty) => fields(ty.types()),
        CqlType::Duration => Just(crate::types::Duration::default().encode()).boxed(),
        CqlType::SmallInt => number(2),
        CqlType::TinyInt => number(1),
        CqlType::Boolean => prop_oneof![Just(vec![0u8]), Just(vec![1u8]), Just(vec![0xff])].boxed(),
        CqlType::Float => float(
            [
                0.0,
                -0.0,
                1.0,
                -1.0,
                f32::INFINITY,
                f32::NEG_INFINITY,
                f32::NAN,
                -f32::NAN,
                f32::MIN_POSITIVE,
                1e-45,
            ]
            .map(|v: f32| v.to_be_bytes().to_vec())
            .to_vec(),
            4,
        ),
        CqlType::Double => float(
            [
                0.0,
                -0.0,
                1.0,
                -1.0,
                f64::INFINITY,
                f64::NEG_INFINITY,
                f64::NAN,
                -f64::NAN,
                f64::MIN_POSITIVE,
                5e-324,
            ]
            .map(|v: f64| v.to_be_bytes().to_vec())
            .to_vec(),
            8,
        ),
        CqlType::Text => proptest::collection::vec(
            proptest::sample::select(vec!['\0', '\u{1}', '\u{2}', 'a', '\u{7f}', '\u{fc}', '\u{1f600}']),
            0..5,
        )
        .prop_map(|chars| chars.into_iter().collect::<String>().into_bytes())
        .boxed(),
        CqlType::Ascii => proptest::collection::vec(proptest::sample::select(vec![0u8, 1, 2, 0x7f]), 0..5).boxed(),
        CqlType::Blob => {
            proptest::collection::vec(proptest::sample::select(vec![0u8, 1, 2, 3, 0x7f, 0xfe, 0xff]), 0..5).boxed()
        }
        CqlType::Uuid => uuid(proptest::sample::select(vec![0u8, 1, 1, 4, 7, 15])),
        CqlType::TimeUuid => uuid(Just(1)),
        CqlType::List(of) | CqlType::Set(of) => elements(&[of]),
        CqlType::Map(key, value) => elements(&[key, value]),
        CqlType::Frozen(inner) => value(inner),
    };
    prop_oneof![1 => Just(Vec::new()), 12 => some].boxed()
}

fn elements(types: &[&CqlType]) -> BoxedStrategy<Vec<u8>> {
    let entry: Vec<BoxedStrategy<Vec<u8>>> = types.iter().map(|ty| value(ty)).collect();
    proptest::collection::vec(entry, 0..4)
        .prop_map(|entries| {
            let mut out = Vec::new();
            put_elements(&mut out, entries.len(), entries.iter().flatten().map(Vec::as_slice));
            out
        })
        .boxed()
}

/// A type and as many values of it.
pub(crate) fn values(count: usize) -> impl Strategy<Value = (CqlType, Vec<Vec<u8>>)> {
    key_type().prop_flat_map(move |ty| {
        let values = proptest::collection::vec(value(&ty), count);
        (Just(ty), values)
    })
}
