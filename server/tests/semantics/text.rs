//! Values as literals, and literals as values.

use num_bigint::BigInt;
use scylla::frame::response::result::{CollectionType, ColumnType, NativeType};
use scylla::serialize::SerializationError;
use scylla::serialize::value::SerializeValue;
use scylla::serialize::writers::{CellWriter, WrittenCellProof};
use scylla::value::CqlValue;

/// A value of a marker.
#[derive(Clone, Debug)]
pub enum Bound {
    Bytes(Vec<u8>),
    Null,
    Unset,
}

impl SerializeValue for Bound {
    fn serialize<'b>(
        &self,
        _: &ColumnType<'_>,
        writer: CellWriter<'b>,
    ) -> Result<WrittenCellProof<'b>, SerializationError> {
        Ok(match self {
            Bound::Bytes(bytes) => writer.set_value(bytes).map_err(SerializationError::new)?,
            Bound::Null => writer.set_null(),
            Bound::Unset => writer.set_unset(),
        })
    }
}

/// The parts between `sign`, outside of brackets and quotes.
pub fn split(text: &str, sign: char) -> Vec<String> {
    let mut parts = vec![String::new()];
    let (mut depth, mut quoted) = (0, false);
    for c in text.chars() {
        match c {
            '\'' => quoted = !quoted,
            '[' | '{' | '(' if !quoted => depth += 1,
            ']' | '}' | ')' if !quoted => depth -= 1,
            _ => {}
        }
        match c == sign && depth == 0 && !quoted {
            true => parts.push(String::new()),
            false => parts.last_mut().unwrap().push(c),
        }
    }
    let parts = parts.iter().map(|part| part.trim().to_owned());
    parts.filter(|part| !part.is_empty()).collect()
}

/// A literal as a value of a type.
pub fn bound(literal: &str, ty: &ColumnType<'_>) -> Bound {
    match literal {
        "null" => Bound::Null,
        "unset" => Bound::Unset,
        literal => Bound::Bytes(bytes_of(literal, ty)),
    }
}

fn within(literal: &str) -> Vec<String> {
    split(&literal[1..literal.len() - 1], ',')
}

fn put(out: &mut Vec<u8>, literal: &str, ty: &ColumnType<'_>) {
    match bound(literal, ty) {
        Bound::Bytes(bytes) => {
            out.extend_from_slice(&i32::try_from(bytes.len()).unwrap().to_be_bytes());
            out.extend_from_slice(&bytes);
        }
        _ => out.extend_from_slice(&(-1_i32).to_be_bytes()),
    }
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.extend_from_slice(&i32::try_from(count).unwrap().to_be_bytes());
}

fn bytes_of(literal: &str, ty: &ColumnType<'_>) -> Vec<u8> {
    use NativeType as N;
    if let Some(hex) = literal.strip_prefix("0x") {
        let digits = hex.as_bytes().chunks(2);
        return digits
            .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect();
    }
    // 'x' * 100: a long text.
    if let Some((text, count)) = literal.split_once("' * ") {
        return text[1..].repeat(count.parse().unwrap()).into_bytes();
    }
    match ty {
        ColumnType::Native(native) => match native {
            N::Text | N::Ascii => literal[1..literal.len() - 1].replace("''", "'").into_bytes(),
            N::Boolean => vec![u8::from(literal == "true")],
            N::TinyInt => literal.parse::<i8>().unwrap().to_be_bytes().to_vec(),
            N::SmallInt => literal.parse::<i16>().unwrap().to_be_bytes().to_vec(),
            N::Int => literal.parse::<i32>().unwrap().to_be_bytes().to_vec(),
            N::BigInt | N::Timestamp => literal.parse::<i64>().unwrap().to_be_bytes().to_vec(),
            N::Double => literal.parse::<f64>().unwrap().to_be_bytes().to_vec(),
            N::Float => literal.parse::<f32>().unwrap().to_be_bytes().to_vec(),
            N::Varint => literal.parse::<BigInt>().unwrap().to_signed_bytes_be(),
            N::Uuid | N::Timeuuid => uuid::Uuid::parse_str(literal).unwrap().as_bytes().to_vec(),
            other => panic!("write a value of {other:?} as 0x…"),
        },
        ColumnType::Collection { typ, .. } => {
            let items = within(literal);
            let mut out = Vec::new();
            put_count(&mut out, items.len());
            match typ {
                CollectionType::List(of) | CollectionType::Set(of) => {
                    items.iter().for_each(|item| put(&mut out, item, of));
                }
                CollectionType::Map(key, of) => {
                    for item in &items {
                        let pair = split(item, ':');
                        put(&mut out, &pair[0], key);
                        put(&mut out, &pair[1], of);
                    }
                }
                other => panic!("no values of {other:?}"),
            }
            out
        }
        ColumnType::Tuple(of) => {
            let mut out = Vec::new();
            for (item, of) in within(literal).iter().zip(of) {
                put(&mut out, item, of);
            }
            out
        }
        ColumnType::UserDefinedType { definition, .. } => {
            let mut out = Vec::new();
            for (item, (_, of)) in within(literal).iter().zip(&definition.field_types) {
                let value = split(item, ':').pop().unwrap();
                put(&mut out, &value, of);
            }
            out
        }
        other => panic!("no values of {other:?}"),
    }
}

/// A value as a literal.
pub fn shown(value: Option<&CqlValue>) -> String {
    let Some(value) = value else {
        return "null".to_owned();
    };
    let all = |items: &[CqlValue]| {
        let items: Vec<String> = items.iter().map(|item| shown(Some(item))).collect();
        items.join(", ")
    };
    match value {
        CqlValue::Ascii(text) | CqlValue::Text(text) => format!("'{}'", text.replace('\'', "''")),
        CqlValue::Boolean(of) => of.to_string(),
        CqlValue::Blob(of) => format!("0x{}", hex(of)),
        CqlValue::Counter(of) => of.0.to_string(),
        CqlValue::Decimal(of) => {
            let (digits, scale) = of.as_signed_be_bytes_slice_and_exponent();
            format!("{}e{}", BigInt::from_signed_bytes_be(digits), -i64::from(scale))
        }
        CqlValue::Date(of) => date(i64::from(of.0) - (1 << 31)),
        CqlValue::Double(of) => format!("{of:?}"),
        CqlValue::Duration(of) => format!("{}mo{}d{}ns", of.months, of.days, of.nanoseconds),
        CqlValue::Empty => "empty".to_owned(),
        CqlValue::Float(of) => format!("{of:?}"),
        CqlValue::Int(of) => of.to_string(),
        CqlValue::BigInt(of) => of.to_string(),
        CqlValue::Timestamp(of) => {
            let (day, ms) = (of.0.div_euclid(86_400_000), of.0.rem_euclid(86_400_000));
            format!("{} {}", date(day), &time(ms * 1_000_000)[..12])
        }
        CqlValue::Inet(of) => of.to_string(),
        CqlValue::List(of) => format!("[{}]", all(of)),
        CqlValue::Set(of) => format!("{{{}}}", all(of)),
        CqlValue::Vector(of) => format!("[{}]", all(of)),
        CqlValue::Map(of) => {
            let pair = |(key, value): &(CqlValue, CqlValue)| format!("{}: {}", shown(Some(key)), shown(Some(value)));
            let pairs: Vec<String> = of.iter().map(pair).collect();
            format!("{{{}}}", pairs.join(", "))
        }
        CqlValue::UserDefinedType { fields, .. } => {
            let field = |(name, value): &(String, Option<CqlValue>)| format!("{name}: {}", shown(value.as_ref()));
            let fields: Vec<String> = fields.iter().map(field).collect();
            format!("{{{}}}", fields.join(", "))
        }
        CqlValue::Tuple(of) => {
            let items: Vec<String> = of.iter().map(|item| shown(item.as_ref())).collect();
            format!("({})", items.join(", "))
        }
        CqlValue::SmallInt(of) => of.to_string(),
        CqlValue::TinyInt(of) => of.to_string(),
        CqlValue::Time(of) => time(of.0),
        CqlValue::Timeuuid(of) => of.to_string(),
        CqlValue::Uuid(of) => of.to_string(),
        CqlValue::Varint(of) => BigInt::from_signed_bytes_be(of.as_signed_bytes_be_slice()).to_string(),
        other => format!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A day since the Unix epoch. <https://howardhinnant.github.io/date_algorithms.html>, `civil_from_days`
fn date(day: i64) -> String {
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{of_month:02}")
}

/// Nanoseconds since midnight.
fn time(nanos: i64) -> String {
    let seconds = nanos / 1_000_000_000;
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    format!(
        "{hours:02}:{minutes:02}:{:02}.{:09}",
        seconds % 60,
        nanos % 1_000_000_000
    )
}
