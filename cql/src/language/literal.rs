//! Constants as values of a type.

use super::error::{Error, Result};
use super::syntax::ast::Constant;
use super::time;
use model::{CqlType, Value};
use num_bigint::BigInt;
use std::net::IpAddr;

/// What a constant is called in messages, and how it was written.
fn kind(constant: &Constant) -> (&'static str, String) {
    match constant {
        Constant::String(text) => ("STRING", text.clone()),
        Constant::Integer(text) => ("INTEGER", text.clone()),
        Constant::Float(text) => ("FLOAT", text.clone()),
        Constant::Uuid(text) => ("UUID", text.clone()),
        Constant::Boolean(value) => ("BOOLEAN", value.to_string()),
        Constant::Blob(digits) => ("HEX", format!("0x{digits}")),
        Constant::Duration(_) => ("DURATION", "a duration".to_owned()),
    }
}

/// Whether a constant may stand for a value of the type: `Constants.Literal.testAssignment`.
pub(super) fn fits(constant: &Constant, ty: &CqlType) -> bool {
    use CqlType::*;
    match constant {
        Constant::String(_) => matches!(ty, Ascii | Text | Inet | Date | Time | Timestamp),
        Constant::Integer(_) => matches!(
            ty,
            BigInt | Int | SmallInt | TinyInt | Varint | Decimal | Double | Float | Date | Time | Timestamp
        ),
        Constant::Float(_) => matches!(ty, Decimal | Double | Float),
        Constant::Uuid(_) => matches!(ty, Uuid | TimeUuid),
        Constant::Boolean(_) => matches!(ty, Boolean),
        Constant::Blob(_) => matches!(ty, Blob),
        Constant::Duration(_) => matches!(ty, Duration),
    }
}

/// The bytes of a constant as a value of the type.
pub(super) fn encode(constant: &Constant, ty: &CqlType, receiver: &str) -> Result<Vec<u8>> {
    if !fits(constant, ty) {
        let (kind, text) = kind(constant);
        let ty = super::types::text_of(ty);
        return Err(Error::invalid(format!(
            "Invalid {kind} constant ({text}) for \"{receiver}\" of type {ty}"
        )));
    }
    let text = match constant {
        Constant::Boolean(value) => return Ok(vec![u8::from(*value)]),
        Constant::Duration(value) => return Ok(value.encode()),
        Constant::Blob(digits) => return blob(digits),
        Constant::String(text) | Constant::Integer(text) | Constant::Float(text) | Constant::Uuid(text) => text,
    };
    let unable = |what: &str| Error::invalid(format!("Unable to make {what} from '{text}'"));
    let value = match ty {
        CqlType::BigInt => Value::BigInt(text.parse().map_err(|_| unable("long"))?),
        CqlType::Int => Value::Int(text.parse().map_err(|_| unable("int"))?),
        CqlType::SmallInt => Value::SmallInt(text.parse().map_err(|_| unable("short"))?),
        CqlType::TinyInt => Value::TinyInt(text.parse().map_err(|_| unable("byte"))?),
        CqlType::Float => Value::Float(text.parse().map_err(|_| unable("float"))?),
        CqlType::Double => Value::Double(text.parse().map_err(|_| unable("double"))?),
        CqlType::Text => Value::Text(text.clone()),
        CqlType::Ascii if text.is_ascii() => Value::Ascii(text.clone()),
        CqlType::Ascii => return Err(Error::invalid("Invalid ASCII character in string literal")),
        CqlType::Uuid => Value::Uuid(text.parse().map_err(|_| unable("UUID"))?),
        CqlType::TimeUuid => match text.parse::<uuid::Uuid>() {
            Ok(uuid) if uuid.get_version_num() == 1 => Value::TimeUuid(uuid),
            Ok(_) => return Err(Error::invalid("TimeUUID supports only version 1 UUIDs")),
            Err(_) => return Err(unable("UUID")),
        },
        CqlType::Timestamp => Value::Timestamp(
            time::parse_timestamp(text)
                .ok_or_else(|| Error::invalid(format!("Unable to parse a date/time from '{text}'")))?,
        ),
        CqlType::Date => Value::Date(time::parse_date(text).ok_or_else(|| unable("date"))?),
        CqlType::Time => Value::Time(time::parse_time(text).ok_or_else(|| unable("time"))?),
        CqlType::Inet => Value::Inet(text.parse::<IpAddr>().map_err(|_| unable("inet address"))?),
        CqlType::Varint => {
            let number: BigInt = text.parse().map_err(|_| unable("BigInteger"))?;
            Value::Varint(number.to_signed_bytes_be())
        }
        CqlType::Decimal => decimal(text).ok_or_else(|| unable("BigDecimal"))?,
        _ => unreachable!("`fits` lets no other type through"),
    };
    Ok(value.encode(ty)?)
}

fn blob(digits: &str) -> Result<Vec<u8>> {
    if !digits.len().is_multiple_of(2) {
        return Err(Error::invalid(format!(
            "An hex string representing bytes must have an even length: 0x{digits}"
        )));
    }
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16);
    let bytes = (0..digits.len()).step_by(2).map(byte).collect::<Result<Vec<u8>, _>>();
    bytes.map_err(|_| Error::invalid(format!("0x{digits} is no hexadecimal number")))
}

/// The most digits before or behind the point that an exponent may bring about.
const EXPONENT_MAX: i64 = 10_000;

/// A decimal: `1`, `1.50`, `-1.5e3`.
pub(super) fn decimal(text: &str) -> Option<Value> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if exponent.abs() > EXPONENT_MAX || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let unscaled: BigInt = format!("{whole}{fraction}").parse().ok()?;
    let scale = i64::try_from(fraction.len()).ok()? - exponent;
    Some(Value::Decimal {
        scale: i32::try_from(scale).ok()?,
        unscaled: unscaled.to_signed_bytes_be(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(constant: Constant, ty: &CqlType) -> String {
        encode(&constant, ty, "v").expect_err("refused").to_string()
    }

    #[test]
    fn constants_are_values_of_types_that_they_fit() {
        let integer = |text: &str| Constant::Integer(text.to_owned());
        let string = |text: &str| Constant::String(text.to_owned());
        assert_eq!(
            encode(&integer("-2"), &CqlType::Int, "v"),
            Ok(vec![0xFF, 0xFF, 0xFF, 0xFE])
        );
        assert_eq!(encode(&integer("128"), &CqlType::Varint, "v"), Ok(vec![0, 0x80]));
        assert_eq!(
            encode(&Constant::Float("1.50".into()), &CqlType::Decimal, "v"),
            Ok(vec![0, 0, 0, 2, 0, 150])
        );
        assert_eq!(
            encode(&string("127.0.0.1"), &CqlType::Inet, "v"),
            Ok(vec![127, 0, 0, 1])
        );
        assert_eq!(
            encode(&Constant::Blob("CAfe".into()), &CqlType::Blob, "v"),
            Ok(vec![0xCA, 0xFE])
        );
        assert_eq!(
            told(integer("99999999999"), &CqlType::Int),
            "Unable to make int from '99999999999'"
        );
        assert_eq!(
            told(string("x"), &CqlType::Int),
            "Invalid STRING constant (x) for \"v\" of type int"
        );
        assert_eq!(
            told(
                Constant::Uuid("f47ac10b-58cc-4372-a567-0e02b2c3d479".into()),
                &CqlType::TimeUuid
            ),
            "TimeUUID supports only version 1 UUIDs"
        );
        assert!(told(Constant::Blob("abc".into()), &CqlType::Blob).contains("even length"));
    }
}
