//! Values bound to markers, left where they lie in the body.

use super::read::Reader;
use super::{Error, Result};

/// A value that a client binds to a marker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Value<'a> {
    /// Null: what is written is deleted.
    Null,
    /// Not set: what is there stays.
    Unset,
    /// The bytes of the value, by the marker's type; none are a value, too.
    Bytes(&'a [u8]),
}

/// The values of a request. That they are whole has been seen when the request was parsed.
#[derive(Clone, Copy, Default, Debug)]
pub struct Values<'a> {
    count: u16,
    named: bool,
    bytes: &'a [u8],
}

impl<'a> Values<'a> {
    #[inline]
    pub(super) fn parse(reader: &mut Reader<'a>, named: bool) -> Result<Values<'a>> {
        let count = reader.u16("the number of values")?;
        let before = *reader;
        for _ in 0..count {
            if named {
                reader.string()?;
            }
            reader.value()?;
        }
        Ok(Values {
            count,
            named,
            bytes: reader.since(&before),
        })
    }

    /// How many there are.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        usize::from(self.count)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether each has a name.
    #[must_use]
    pub fn is_named(&self) -> bool {
        self.named
    }

    /// Each with its name, in the order in which they were sent.
    #[must_use]
    #[inline]
    pub fn iter(&self) -> ValuesIter<'a> {
        ValuesIter {
            left: self.count,
            named: self.named,
            reader: Reader::new(self.bytes),
        }
    }
}

impl<'a> IntoIterator for Values<'a> {
    type Item = (Option<&'a str>, Value<'a>);
    type IntoIter = ValuesIter<'a>;

    fn into_iter(self) -> ValuesIter<'a> {
        self.iter()
    }
}

impl<'a> IntoIterator for &Values<'a> {
    type Item = (Option<&'a str>, Value<'a>);
    type IntoIter = ValuesIter<'a>;

    fn into_iter(self) -> ValuesIter<'a> {
        self.iter()
    }
}

/// Walks [`Values`].
#[derive(Clone, Debug)]
pub struct ValuesIter<'a> {
    left: u16,
    named: bool,
    reader: Reader<'a>,
}

impl<'a> Iterator for ValuesIter<'a> {
    type Item = (Option<&'a str>, Value<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        // Nothing here fails: `parse` has read the same bytes.
        let name = if self.named {
            Some(self.reader.string().ok()?)
        } else {
            None
        };
        Some((name, self.reader.value().ok()?))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::from(self.left), Some(usize::from(self.left)))
    }
}

impl ExactSizeIterator for ValuesIter<'_> {}

/// What the bytes after the flags mean.
pub(super) mod flags {
    pub(crate) const VALUES: u8 = 0x01;
    pub(crate) const SKIP_METADATA: u8 = 0x02;
    pub(crate) const PAGE_SIZE: u8 = 0x04;
    pub(crate) const PAGING_STATE: u8 = 0x08;
    pub(crate) const SERIAL_CONSISTENCY: u8 = 0x10;
    pub(crate) const TIMESTAMP: u8 = 0x20;
    pub(crate) const NAMES: u8 = 0x40;
}

/// A page size as it was sent: 0 is refused, below 0 there are no pages.
#[inline]
pub(super) fn page_size(sent: i32) -> Result<Option<u32>> {
    match sent {
        0 => Err(Error::PageSize),
        _ => Ok(u32::try_from(sent).ok()),
    }
}
