//! The elements of a serialised collection.

use std::borrow::Cow;

use super::CqlType;
use super::fields::{Fields, put_field};
use crate::{ModelError, varint};

/// Walks a collection's bytes: a count (32 bits, big-endian; entries for a map), then each element as length (32 bits,
/// big-endian) and bytes; a map's keys and values in turn.
pub(crate) struct Elements<'a> {
    rest: &'a [u8],
    left: u64,
}

impl<'a> Elements<'a> {
    /// `per_entry` is 2 for maps, else 1. An empty value is an empty collection. `None` if the count is not there.
    pub(crate) fn new(bytes: &'a [u8], per_entry: u64) -> Option<Elements<'a>> {
        let mut rest = bytes;
        let count = if bytes.is_empty() {
            0
        } else {
            i32::from_be_bytes(varint::get_array(&mut rest)?)
        };
        Some(Elements {
            rest,
            left: u64::try_from(count).ok()? * per_entry,
        })
    }

    /// The next element; `Err` if the bytes are not one, or go on after the last.
    #[inline]
    pub(crate) fn take(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        if self.left == 0 {
            return if self.rest.is_empty() { Ok(None) } else { Err(Malformed) };
        }
        let mut rest = self.rest;
        let len = i32::from_be_bytes(varint::get_array(&mut rest).ok_or(Malformed)?);
        let len = usize::try_from(len).map_err(|_| Malformed)?; // a null element is not legal
        let (element, rest) = rest.split_at_checked(len).ok_or(Malformed)?;
        self.rest = rest;
        self.left -= 1;
        Ok(Some(element))
    }
}

/// The bytes are not a collection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Appends a collection of `count` entries.
pub(crate) fn put_elements<'a>(out: &mut Vec<u8>, count: usize, elements: impl Iterator<Item = &'a [u8]>) {
    out.extend_from_slice(&(count as i32).to_be_bytes());
    for element in elements {
        out.extend_from_slice(&(element.len() as i32).to_be_bytes());
        out.extend_from_slice(element);
    }
}

impl CqlType {
    /// The bytes that are stored for a value that a client bound: a set's elements and a map's entries sorted by the
    /// type's comparator and each once (of equal map keys the last), all the way down. Everything else stays as it is.
    ///
    /// # Errors
    /// [`ModelError::Value`] if `value` is not legal.
    pub fn canonical<'v>(&self, value: &'v [u8]) -> Result<Cow<'v, [u8]>, ModelError> {
        self.validate(value)?;
        Ok(self.sorted(value))
    }

    /// Whether there is a set or a map in it.
    fn is_sorted_inside(&self) -> bool {
        matches!(self, CqlType::Set(_) | CqlType::Map(..)) || self.inside().into_iter().any(CqlType::is_sorted_inside)
    }

    fn sorted<'v>(&self, value: &'v [u8]) -> Cow<'v, [u8]> {
        if !self.is_sorted_inside() {
            return Cow::Borrowed(value);
        }
        let (key, element) = match self.unfrozen() {
            CqlType::List(of) | CqlType::Set(of) => (of, None),
            CqlType::Tuple(types) => return sorted_fields(value, types.iter()),
            CqlType::Udt(ty) => return sorted_fields(value, ty.types()),
            CqlType::Map(key, value) => (key, Some(value)),
            _ => return Cow::Borrowed(value),
        };
        let Some(mut elements) = Elements::new(value, if element.is_some() { 2 } else { 1 }) else {
            return Cow::Borrowed(value);
        };
        let mut entries = Vec::new();
        while let Ok(Some(first)) = elements.take() {
            let second = match element {
                Some(ty) => ty.sorted(elements.take().ok().flatten().unwrap_or_default()),
                None => Cow::Borrowed(&[][..]),
            };
            entries.push((key.sorted(first), second));
        }
        if !matches!(self.unfrozen(), CqlType::List(_)) {
            entries.sort_by(|a, b| key.compare(&a.0, &b.0));
            // The sort is stable: of equal keys the last stands last, and its value stays.
            entries.dedup_by(|later, kept| {
                let same = key.compare(&later.0, &kept.0).is_eq();
                if same {
                    std::mem::swap(later, kept);
                }
                same
            });
        }
        if value.is_empty() {
            return Cow::Borrowed(value);
        }
        let mut out = Vec::with_capacity(value.len());
        put_elements(
            &mut out,
            entries.len(),
            entries
                .iter()
                .flat_map(|(first, second)| [Some(&**first), element.map(|_| &**second)])
                .flatten(),
        );
        Cow::Owned(out)
    }
}

fn sorted_fields<'t, 'v>(value: &'v [u8], types: impl Iterator<Item = &'t CqlType>) -> Cow<'v, [u8]> {
    let mut fields = Fields::new(value);
    let mut out = Vec::with_capacity(value.len());
    for ty in types {
        match fields.take() {
            Ok(Some(field)) => put_field(&mut out, field.map(|field| ty.sorted(field)).as_deref()),
            Ok(None) | Err(_) => break,
        }
    }
    Cow::Owned(out)
}
