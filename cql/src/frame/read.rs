//! The notations of section 3 of the specification, read where they lie.

use std::net::{IpAddr, SocketAddr};

use super::{Consistency, Error, Result, Value};

/// What is left of a body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    #[inline]
    pub(super) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    #[inline]
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// What has been read since `before`, which is an earlier state of this reader.
    #[inline]
    pub(super) fn since(&self, before: &Reader<'a>) -> &'a [u8] {
        let read = before.rest.len().saturating_sub(self.rest.len());
        before.rest.get(..read).unwrap_or_default()
    }

    #[inline]
    pub(super) fn take(&mut self, len: usize, what: &'static str) -> Result<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Error::Short(what))?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    pub(super) fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(Error::Short(what))?;
        self.rest = rest;
        Ok(*taken)
    }

    #[inline]
    pub(super) fn u8(&mut self, what: &'static str) -> Result<u8> {
        Ok(u8::from_be_bytes(self.array(what)?))
    }

    #[inline]
    pub(super) fn u16(&mut self, what: &'static str) -> Result<u16> {
        Ok(u16::from_be_bytes(self.array(what)?))
    }

    #[inline]
    pub(super) fn i32(&mut self, what: &'static str) -> Result<i32> {
        Ok(i32::from_be_bytes(self.array(what)?))
    }

    #[inline]
    pub(super) fn i64(&mut self, what: &'static str) -> Result<i64> {
        Ok(i64::from_be_bytes(self.array(what)?))
    }

    /// `[string]`.
    #[inline]
    pub(super) fn string(&mut self) -> Result<&'a str> {
        const WHAT: &str = "an UTF8 serialized string preceded by its 2 bytes length";
        let len = self.u16(WHAT)?;
        text(self.take(usize::from(len), WHAT)?)
    }

    /// `[long string]`.
    pub(super) fn long_string(&mut self) -> Result<&'a str> {
        const WHAT: &str = "an UTF8 serialized string preceded by its 4 bytes length";
        let len = usize::try_from(self.i32(WHAT)?).map_err(|_| Error::Short(WHAT))?;
        text(self.take(len, WHAT)?)
    }

    /// `[short bytes]`.
    #[inline]
    pub(super) fn short_bytes(&mut self) -> Result<&'a [u8]> {
        const WHAT: &str = "a byte array preceded by its 2 bytes length";
        let len = self.u16(WHAT)?;
        self.take(usize::from(len), WHAT)
    }

    /// `[bytes]`: any negative length is null.
    #[inline]
    pub(super) fn bytes(&mut self) -> Result<Option<&'a [u8]>> {
        const WHAT: &str = "a value preceded by its 4 bytes length";
        match usize::try_from(self.i32(WHAT)?) {
            Ok(len) => self.take(len, WHAT).map(Some),
            Err(_) => Ok(None),
        }
    }

    /// `[value]`.
    #[inline]
    pub(super) fn value(&mut self) -> Result<Value<'a>> {
        const WHAT: &str = "a value preceded by its 4 bytes length";
        let len = self.i32(WHAT)?;
        match usize::try_from(len) {
            Ok(len) => Ok(Value::Bytes(self.take(len, WHAT)?)),
            Err(_) => match len {
                -1 => Ok(Value::Null),
                -2 => Ok(Value::Unset),
                _ => Err(Error::ValueLength(len)),
            },
        }
    }

    /// `[string list]`.
    pub(super) fn string_list(&mut self) -> Result<Vec<&'a str>> {
        let count = self.u16("a list of strings")?;
        (0..count).map(|_| self.string()).collect()
    }

    /// `[consistency]`.
    #[inline]
    pub(super) fn consistency(&mut self) -> Result<Consistency> {
        let code = self.u16("a consistency level")?;
        Consistency::from_code(code).ok_or(Error::Consistency(code))
    }

    /// `[inet]`.
    pub(super) fn inet(&mut self) -> Result<SocketAddr> {
        const WHAT: &str = "an address";
        let ip = match self.u8(WHAT)? {
            4 => IpAddr::from(self.array::<4>(WHAT)?),
            16 => IpAddr::from(self.array::<16>(WHAT)?),
            _ => return Err(Error::Malformed("an address is neither of 4 nor of 16 bytes")),
        };
        let port = u16::try_from(self.i32(WHAT)?).map_err(|_| Error::Malformed("a port is above 65535"))?;
        Ok(SocketAddr::new(ip, port))
    }

    /// `[bytes map]`, passed over.
    pub(super) fn skip_bytes_map(&mut self) -> Result<()> {
        for _ in 0..self.u16("a custom payload")? {
            self.string()?;
            self.bytes()?;
        }
        Ok(())
    }
}

#[inline]
fn text(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| Error::Utf8)
}
