//! The notations of section 3 of the specification, written to the end of a buffer.

use std::net::{IpAddr, SocketAddr};

use super::{Consistency, HEADER_LEN, Opcode, Value};

/// Appends `[bytes]`: the length, -1 for null, and the bytes. So are elements of collections and fields of tuples written, too.
///
/// # Panics
/// If `bytes` are longer than `i32::MAX`.
#[inline]
pub fn put_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => out.extend_from_slice(&(-1i32).to_be_bytes()),
        Some(bytes) => {
            out.reserve(4 + bytes.len());
            out.extend_from_slice(&i32_len(bytes.len()).to_be_bytes());
            out.extend_from_slice(bytes);
        }
    }
}

/// A length that is written before what it counts, and set afterwards; [`open_bytes`] gives it.
#[derive(Debug)]
#[must_use = "the length stays 0 until `close`"]
pub struct OpenBytes {
    at: usize,
}

/// Begins a `[bytes]` whose length is not known yet: append what is in it, then [`OpenBytes::close`].
///
/// ```
/// use scrollback_cql::frame::{open_bytes, put_bytes};
///
/// let mut out = Vec::new();
/// let list = open_bytes(&mut out);
/// out.extend_from_slice(&1i32.to_be_bytes());
/// put_bytes(&mut out, Some(b"element"));
/// list.close(&mut out);
/// assert_eq!(out, b"\0\0\0\x0f\0\0\0\x01\0\0\0\x07element");
/// ```
#[inline]
pub fn open_bytes(out: &mut Vec<u8>) -> OpenBytes {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    OpenBytes { at }
}

impl OpenBytes {
    /// Sets the length to what `out` has grown by since.
    ///
    /// # Panics
    /// If `out` is another buffer, or has shrunk, or more than `i32::MAX` bytes were appended.
    #[inline]
    pub fn close(self, out: &mut [u8]) {
        let len = out.len().checked_sub(self.at + 4).expect("the buffer only grows");
        patch(out, self.at, i32_len(len));
    }

    /// Takes back what was appended since, and leaves null in its place.
    ///
    /// # Panics
    /// If `out` is another buffer, or has shrunk.
    pub fn close_as_null(self, out: &mut Vec<u8>) {
        assert!(out.len() >= self.at + 4, "the buffer only grows");
        out.truncate(self.at + 4);
        patch(out, self.at, -1);
    }
}

/// Sets the number at `at`.
#[inline]
pub(super) fn patch(out: &mut [u8], at: usize, number: i32) {
    out[at..at + 4].copy_from_slice(&number.to_be_bytes());
}

#[inline]
fn i32_len(len: usize) -> i32 {
    i32::try_from(len).expect("what is written is below 2 GiB")
}

#[inline]
pub(super) fn put_u16(out: &mut Vec<u8>, number: u16) {
    out.extend_from_slice(&number.to_be_bytes());
}

#[inline]
pub(super) fn put_i32(out: &mut Vec<u8>, number: i32) {
    out.extend_from_slice(&number.to_be_bytes());
}

/// The number of elements of a list that the protocol counts in 16 bits.
pub(super) fn short_count(len: usize) -> u16 {
    u16::try_from(len).expect("a list has at most 65535 elements")
}

/// `[string]`; of more than 65535 bytes those that fit, cut between characters.
pub(super) fn put_string(out: &mut Vec<u8>, text: &str) {
    let mut len = text.len().min(usize::from(u16::MAX));
    while !text.is_char_boundary(len) {
        len -= 1;
    }
    put_u16(out, len as u16);
    out.extend_from_slice(&text.as_bytes()[..len]);
}

/// `[long string]`.
pub(super) fn put_long_string(out: &mut Vec<u8>, text: &str) {
    put_bytes(out, Some(text.as_bytes()));
}

/// `[short bytes]`.
pub(super) fn put_short_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_u16(out, short_count(bytes.len()));
    out.extend_from_slice(bytes);
}

/// `[value]`.
#[inline]
pub(super) fn put_value(out: &mut Vec<u8>, value: Value<'_>) {
    match value {
        Value::Null => put_i32(out, -1),
        Value::Unset => put_i32(out, -2),
        Value::Bytes(bytes) => put_bytes(out, Some(bytes)),
    }
}

/// `[string list]`.
pub(super) fn put_string_list<S: AsRef<str>>(out: &mut Vec<u8>, list: &[S]) {
    put_u16(out, short_count(list.len()));
    for text in list {
        put_string(out, text.as_ref());
    }
}

/// `[bytes map]`.
pub(super) fn put_bytes_map(out: &mut Vec<u8>, map: &[(&str, Option<&[u8]>)]) {
    put_u16(out, short_count(map.len()));
    for (key, bytes) in map {
        put_string(out, key);
        put_bytes(out, *bytes);
    }
}

pub(super) fn put_consistency(out: &mut Vec<u8>, consistency: Consistency) {
    put_u16(out, consistency.code());
}

/// `[inet]`.
pub(super) fn put_inet(out: &mut Vec<u8>, address: SocketAddr) {
    match address.ip() {
        IpAddr::V4(ip) => {
            out.push(4);
            out.extend_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            out.push(16);
            out.extend_from_slice(&ip.octets());
        }
    }
    put_i32(out, i32::from(address.port()));
}

/// A frame whose body is being written.
#[derive(Debug)]
pub(super) struct OpenFrame {
    pub(super) start: usize,
}

/// Writes a header without a length.
pub(super) fn open_frame(out: &mut Vec<u8>, version: u8, flags: u8, stream: i16, opcode: Opcode) -> OpenFrame {
    let start = out.len();
    let [high, low] = stream.to_be_bytes();
    out.extend_from_slice(&[version, flags, high, low, opcode as u8, 0, 0, 0, 0]);
    OpenFrame { start }
}

impl OpenFrame {
    /// Sets the length in the header.
    #[inline]
    pub(super) fn close(self, out: &mut [u8]) {
        let len = out.len().checked_sub(self.start + HEADER_LEN);
        let len = len.filter(|len| *len <= super::BODY_BYTES_MAX);
        let len = len.expect("a body has at most 256 MiB");
        patch(out, self.start + 5, len as i32);
    }
}
