//! The functions that the language has.

use super::error::{Error, Result};
use super::time;
use super::types::text_of;
use super::values::Environment;
use model::{CqlType, Value, token_of};
use num_bigint::BigInt;

/// A function.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Function {
    /// `now()`, `current_timeuuid()`
    Now,
    /// `uuid()`
    RandomUuid,
    /// `current_timestamp()`
    CurrentTimestamp,
    /// `current_date()`
    CurrentDate,
    /// `current_time()`
    CurrentTime,
    /// `min_timeuuid(timestamp)`
    MinTimeUuid,
    /// `max_timeuuid(timestamp)`
    MaxTimeUuid,
    /// `to_timestamp(timeuuid | date)`, `dateof`
    ToTimestamp,
    /// `to_date(timeuuid | timestamp)`
    ToDate,
    /// `to_unix_timestamp(timeuuid | timestamp | date)`, `unixtimestampof`
    ToUnixTimestamp,
    /// `…_as_blob`, `blob_as_…`: the bytes stay as they are.
    Bytes,
    /// `token(…)`
    Token,
    /// `cast(… as …)`
    Cast,
}

/// A function with the types of its arguments and of what it gives.
#[derive(Clone, PartialEq, Debug)]
pub struct Signature {
    /// The function.
    pub function: Function,
    /// Its name, for messages and columns.
    pub name: String,
    /// The types of its arguments.
    pub arguments: Vec<CqlType>,
    /// The type of what it gives.
    pub returns: CqlType,
}

fn simple_type(name: &str) -> Option<CqlType> {
    use CqlType::*;
    let types = [
        Ascii, BigInt, Blob, Boolean, Date, Decimal, Double, Duration, Float, Inet, Int, SmallInt, Text, Time,
        Timestamp, TimeUuid, TinyInt, Uuid, Varint,
    ];
    match name {
        "varchar" => Some(Text),
        name => types.into_iter().find(|ty| ty.keyword() == name),
    }
}

/// All functions of a name: those that differ in their arguments; empty if there is none.
#[must_use]
pub fn named(name: &str) -> Vec<Signature> {
    use CqlType::*;
    let name = name.strip_prefix("system.").unwrap_or(name);
    let of = |function: Function, arguments: &[CqlType], returns: CqlType| Signature {
        function,
        name: name.to_owned(),
        arguments: arguments.to_vec(),
        returns,
    };
    match name {
        "now" | "current_timeuuid" | "currenttimeuuid" => vec![of(Function::Now, &[], TimeUuid)],
        "uuid" => vec![of(Function::RandomUuid, &[], Uuid)],
        "current_timestamp" | "currenttimestamp" => vec![of(Function::CurrentTimestamp, &[], Timestamp)],
        "current_date" | "currentdate" => vec![of(Function::CurrentDate, &[], Date)],
        "current_time" | "currenttime" => vec![of(Function::CurrentTime, &[], Time)],
        "min_timeuuid" | "mintimeuuid" => vec![of(Function::MinTimeUuid, &[Timestamp], TimeUuid)],
        "max_timeuuid" | "maxtimeuuid" => vec![of(Function::MaxTimeUuid, &[Timestamp], TimeUuid)],
        "to_timestamp" | "totimestamp" => vec![
            of(Function::ToTimestamp, &[TimeUuid], Timestamp),
            of(Function::ToTimestamp, &[Date], Timestamp),
        ],
        "dateof" => vec![of(Function::ToTimestamp, &[TimeUuid], Timestamp)],
        "to_date" | "todate" => vec![
            of(Function::ToDate, &[TimeUuid], Date),
            of(Function::ToDate, &[Timestamp], Date),
        ],
        "to_unix_timestamp" | "tounixtimestamp" => vec![
            of(Function::ToUnixTimestamp, &[TimeUuid], BigInt),
            of(Function::ToUnixTimestamp, &[Timestamp], BigInt),
            of(Function::ToUnixTimestamp, &[Date], BigInt),
        ],
        "unixtimestampof" => vec![of(Function::ToUnixTimestamp, &[TimeUuid], BigInt)],
        _ => {
            let to_blob = name.strip_suffix("_as_blob").or_else(|| name.strip_suffix("asblob"));
            let from_blob = name.strip_prefix("blob_as_").or_else(|| name.strip_prefix("blobas"));
            match (to_blob.and_then(simple_type), from_blob.and_then(simple_type)) {
                (Some(ty), _) if ty != Blob => vec![of(Function::Bytes, &[ty], Blob)],
                (_, Some(ty)) if ty != Blob => vec![of(Function::Bytes, &[Blob], ty)],
                _ => Vec::new(),
            }
        }
    }
}

/// `token` over the columns of a partition key.
pub(super) fn token_of_key(arguments: Vec<CqlType>) -> Signature {
    Signature {
        function: Function::Token,
        name: "token".to_owned(),
        arguments,
        returns: CqlType::BigInt,
    }
}

/// `cast(from as to)`; `None` if there is no such cast (`CastFcts.java`).
#[must_use]
pub fn cast(from: &CqlType, to: &CqlType) -> Option<Signature> {
    use CqlType::*;
    let is_number = |ty: &CqlType| {
        matches!(
            ty,
            BigInt | Int | SmallInt | TinyInt | Varint | Decimal | Double | Float
        )
    };
    let is_text = |ty: &CqlType| matches!(ty, Text | Ascii);
    let exists = from == to
        || (is_number(from) && (is_number(to) || is_text(to)))
        || match from {
            Ascii => *to == Text,
            Boolean | Inet | Time | Uuid => is_text(to),
            TimeUuid => is_text(to) || matches!(to, Timestamp | Date),
            Timestamp => is_text(to) || *to == Date,
            Date => is_text(to) || *to == Timestamp,
            _ => false,
        };
    exists.then(|| Signature {
        function: Function::Cast,
        name: format!("cast_as_{}", to.keyword()),
        arguments: vec![from.clone()],
        returns: to.clone(),
    })
}

impl Signature {
    /// Whether it gives the same for the same arguments.
    #[must_use]
    pub fn is_pure(&self) -> bool {
        !matches!(
            self.function,
            Function::Now
                | Function::RandomUuid
                | Function::CurrentTimestamp
                | Function::CurrentDate
                | Function::CurrentTime
        )
    }

    /// What it gives for these arguments; `None` is null.
    ///
    /// # Errors
    /// [`Error::Invalid`]: an argument it cannot be given.
    pub fn call(&self, arguments: &[Option<&[u8]>], environment: &dyn Environment) -> Result<Option<Vec<u8>>> {
        let now_ms = || environment.now_micros().div_euclid(1000);
        match self.function {
            Function::Now => return Ok(Some(environment.time_uuid().to_vec())),
            Function::RandomUuid => return Ok(Some(environment.random_uuid().to_vec())),
            Function::CurrentTimestamp => return Ok(Some(now_ms().to_be_bytes().to_vec())),
            Function::CurrentDate => return Ok(Some(time::date_of_millis(now_ms()).to_be_bytes().to_vec())),
            Function::CurrentTime => {
                let nanos = environment.now_micros().rem_euclid(86_400_000_000) * 1000;
                return Ok(Some(nanos.to_be_bytes().to_vec()));
            }
            Function::Token => return token(arguments).map(Some),
            _ => {}
        }
        let (Some(Some(argument)), [ty]) = (arguments.first(), self.arguments.as_slice()) else {
            return Ok(None);
        };
        if argument.is_empty() && self.function != Function::Bytes {
            return Ok(None);
        }
        let millis = || millis_of(ty, argument);
        let out = match self.function {
            Function::MinTimeUuid => millis().map(|millis| time::min_time_uuid(millis).to_vec()),
            Function::MaxTimeUuid => millis().map(|millis| time::max_time_uuid(millis).to_vec()),
            Function::ToTimestamp | Function::ToUnixTimestamp => millis().map(|millis| millis.to_be_bytes().to_vec()),
            Function::ToDate => millis().map(|millis| time::date_of_millis(millis).to_be_bytes().to_vec()),
            Function::Bytes => {
                if self.returns.validate(argument).is_err() {
                    let (name, ty) = (&self.name, text_of(&self.returns));
                    return Err(Error::invalid(format!(
                        "In call to function system.{name}, value 0x{} is not a valid binary representation for type {ty}",
                        hex(argument)
                    )));
                }
                Some(argument.to_vec())
            }
            Function::Cast => convert(argument, ty, &self.returns),
            _ => None,
        };
        match out {
            Some(out) => Ok(Some(out)),
            None => Err(Error::invalid(format!(
                "In call to function system.{}: a value of {} that it cannot take",
                self.name,
                text_of(ty)
            ))),
        }
    }
}

/// Bytes as hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn token(arguments: &[Option<&[u8]>]) -> Result<Vec<u8>> {
    let parts: Option<Vec<&[u8]>> = arguments.iter().copied().collect();
    let Some(parts) = parts else {
        return Err(Error::invalid("Invalid null value in the arguments of token()"));
    };
    let mut key = Vec::new();
    match parts.as_slice() {
        [part] => key.extend_from_slice(part),
        parts => {
            for part in parts {
                let len = u16::try_from(part.len());
                let len = len.map_err(|_| Error::invalid("a value in token() is longer than 65535 bytes"))?;
                key.extend_from_slice(&len.to_be_bytes());
                key.extend_from_slice(part);
                key.push(0);
            }
        }
    }
    Ok(token_of(&key).0.to_be_bytes().to_vec())
}

/// Milliseconds since the Unix epoch of a moment of any type.
fn millis_of(ty: &CqlType, value: &[u8]) -> Option<i64> {
    match ty {
        CqlType::TimeUuid => time::millis_of(value),
        CqlType::Timestamp => Some(i64::from_be_bytes(value.try_into().ok()?)),
        CqlType::Date => Some(time::millis_of_date(u32::from_be_bytes(value.try_into().ok()?))),
        _ => None,
    }
}

/// A number of any type, as exactly as that type has it.
enum Number {
    Whole(BigInt),
    Real(f64),
    Decimal(BigInt, i32),
}

fn number(ty: &CqlType, value: &[u8]) -> Option<Number> {
    Some(match ty {
        CqlType::BigInt | CqlType::Int | CqlType::SmallInt | CqlType::TinyInt | CqlType::Varint => {
            Number::Whole(BigInt::from_signed_bytes_be(value))
        }
        CqlType::Double => Number::Real(f64::from_be_bytes(value.try_into().ok()?)),
        CqlType::Float => Number::Real(f64::from(f32::from_be_bytes(value.try_into().ok()?))),
        CqlType::Decimal => {
            let (scale, unscaled) = value.split_first_chunk::<4>()?;
            Number::Decimal(BigInt::from_signed_bytes_be(unscaled), i32::from_be_bytes(*scale))
        }
        _ => return None,
    })
}

impl Number {
    fn to_text(&self) -> String {
        match self {
            Number::Whole(whole) => whole.to_string(),
            Number::Real(real) => real_text(*real),
            Number::Decimal(unscaled, scale) => decimal_text(unscaled, *scale),
        }
    }

    fn to_real(&self) -> Option<f64> {
        match self {
            Number::Whole(whole) => whole.to_string().parse().ok(),
            Number::Real(real) => Some(*real),
            Number::Decimal(unscaled, scale) => format!("{unscaled}e{}", -i64::from(*scale)).parse().ok(),
        }
    }

    /// Without what is behind the point.
    fn to_whole(&self) -> Option<BigInt> {
        match self {
            Number::Whole(whole) => Some(whole.clone()),
            Number::Real(real) if real.is_finite() => format!("{:.0}", real.trunc()).parse().ok(),
            Number::Real(_) => None,
            Number::Decimal(unscaled, scale) => {
                let power = |by: i32| BigInt::from(10).pow(by.unsigned_abs());
                match *scale {
                    ..=-4096 | 4096.. => None,
                    ..0 => Some(unscaled * power(*scale)),
                    _ => Some(unscaled / power(*scale)),
                }
            }
        }
    }
}

/// As Java's `Double.toString`.
pub(super) fn real_text(real: f64) -> String {
    if real.is_nan() {
        return "NaN".to_owned();
    }
    if real.is_infinite() {
        return if real > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let size = real.abs();
    if size == 0.0 || (1e-3..1e7).contains(&size) {
        return format!("{real:?}");
    }
    let text = format!("{real:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let point = if mantissa.contains('.') { "" } else { ".0" };
    format!("{mantissa}{point}E{exponent}")
}

/// As Java's `BigDecimal.toPlainString`; with very many zeros, with an exponent.
fn decimal_text(unscaled: &BigInt, scale: i32) -> String {
    const ZEROS_MAX: u32 = 10_000;
    let negative = unscaled.sign() == num_bigint::Sign::Minus;
    let digits = unscaled.magnitude().to_string();
    let sign = if negative { "-" } else { "" };
    if scale.unsigned_abs() > ZEROS_MAX {
        return format!("{sign}{digits}E{}", -i64::from(scale));
    }
    match usize::try_from(scale) {
        Err(_) => format!("{sign}{digits}{}", "0".repeat(scale.unsigned_abs() as usize)),
        Ok(0) => format!("{sign}{digits}"),
        Ok(scale) => {
            let digits = format!("{digits:0>width$}", width = scale + 1);
            let (whole, fraction) = digits.split_at(digits.len() - scale);
            format!("{sign}{whole}.{fraction}")
        }
    }
}

fn convert(value: &[u8], from: &CqlType, to: &CqlType) -> Option<Vec<u8>> {
    use CqlType::*;
    if from == to {
        return Some(value.to_vec());
    }
    if matches!(to, Text | Ascii) {
        return Some(text(value, from)?.into_bytes());
    }
    if matches!(to, Timestamp) {
        return Some(millis_of(from, value)?.to_be_bytes().to_vec());
    }
    if matches!(to, Date) {
        return Some(time::date_of_millis(millis_of(from, value)?).to_be_bytes().to_vec());
    }
    let number = number(from, value)?;
    // Narrower types take the last bits, as Java's conversions do.
    let low = |bytes: usize| {
        let whole = number.to_whole()?.to_signed_bytes_be();
        let fill = if whole.first().is_some_and(|first| first & 0x80 != 0) {
            0xFF
        } else {
            0
        };
        let mut out = vec![fill; bytes.saturating_sub(whole.len())];
        out.extend_from_slice(&whole[whole.len().saturating_sub(bytes)..]);
        Some(out)
    };
    match to {
        BigInt => low(8),
        Int => low(4),
        SmallInt => low(2),
        TinyInt => low(1),
        Varint => Some(number.to_whole()?.to_signed_bytes_be()),
        Double => Some(number.to_real()?.to_be_bytes().to_vec()),
        Float => Some((number.to_real()? as f32).to_be_bytes().to_vec()),
        Decimal => super::literal::decimal(&number.to_text())?.encode(&Decimal).ok(),
        _ => None,
    }
}

fn text(value: &[u8], from: &CqlType) -> Option<String> {
    if let Some(number) = number(from, value) {
        return Some(match from {
            CqlType::Float => {
                let real = f32::from_be_bytes(value.try_into().ok()?);
                real_text(real.to_string().parse().ok()?)
            }
            _ => number.to_text(),
        });
    }
    Some(match Value::decode(from, value).ok()? {
        Value::Boolean(value) => value.to_string(),
        Value::Ascii(text) | Value::Text(text) => text,
        Value::Uuid(uuid) | Value::TimeUuid(uuid) => uuid.to_string(),
        Value::Inet(address) => address.to_string(),
        Value::Timestamp(millis) => time::format_timestamp(millis),
        Value::Date(date) => time::format_date(date),
        Value::Time(nanos) => time::format_time(nanos),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::World;
    use super::*;

    fn called(name: &str, argument: &[u8], ty: &CqlType) -> Option<Vec<u8>> {
        let signature = named(name)
            .into_iter()
            .find(|of| of.arguments == [ty.clone()])
            .expect(name);
        signature.call(&[Some(argument)], &World::default()).expect(name)
    }

    #[test]
    fn moments_are_converted() {
        let millis = 1_700_000_000_123_i64;
        let uuid = time::min_time_uuid(millis);
        let bytes = millis.to_be_bytes();
        assert_eq!(called("totimestamp", &uuid, &CqlType::TimeUuid), Some(bytes.to_vec()));
        assert_eq!(
            called("unixtimestampof", &uuid, &CqlType::TimeUuid),
            Some(bytes.to_vec())
        );
        assert_eq!(called("min_timeuuid", &bytes, &CqlType::Timestamp), Some(uuid.to_vec()));
        let date = called("to_date", &bytes, &CqlType::Timestamp).expect("a date");
        assert_eq!(
            time::format_date(u32::from_be_bytes(date.as_slice().try_into().expect("4"))),
            "2023-11-14"
        );
    }

    #[test]
    fn bytes_are_checked() {
        assert_eq!(
            called("intasblob", &[0, 0, 0, 1], &CqlType::Int),
            Some(vec![0, 0, 0, 1])
        );
        let back = named("blobasint").remove(0);
        let told = back
            .call(&[Some(&[1])], &World::default())
            .expect_err("refused")
            .to_string();
        assert_eq!(
            told,
            "In call to function system.blobasint, value 0x01 is not a valid binary representation for type int"
        );
    }

    #[test]
    fn numbers_are_cast() {
        let to = |value: &[u8], from: CqlType, to: CqlType| {
            cast(&from, &to)
                .expect("a cast")
                .call(&[Some(value)], &World::default())
                .expect("cast")
                .expect("a value")
        };
        assert_eq!(to(&[0, 0, 1, 2], CqlType::Int, CqlType::TinyInt), [2]);
        assert_eq!(to(&[0xFF], CqlType::TinyInt, CqlType::BigInt), [0xFF; 8]);
        assert_eq!(to(&1.9_f64.to_be_bytes(), CqlType::Double, CqlType::Int), [0, 0, 0, 1]);
        assert_eq!(to(&[0, 0, 0, 5], CqlType::Int, CqlType::Text), b"5");
        assert_eq!(to(&1e10_f64.to_be_bytes(), CqlType::Double, CqlType::Text), b"1.0E10");
        assert_eq!(to(&0.1_f32.to_be_bytes(), CqlType::Float, CqlType::Text), b"0.1");
        assert_eq!(to(&[0, 0, 0, 2, 0, 150], CqlType::Decimal, CqlType::Text), b"1.50");
        assert_eq!(to(&[0, 0, 0, 2, 0, 150], CqlType::Decimal, CqlType::Int), [0, 0, 0, 1]);
        assert_eq!(to(&[0, 1, 0, 0, 7], CqlType::Decimal, CqlType::Text), b"7E-65536");
        assert!(cast(&CqlType::Text, &CqlType::Int).is_none());
    }
}
