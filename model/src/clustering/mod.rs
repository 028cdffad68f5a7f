//! Clustering keys as bytes that sort as CQL sorts them: `docs/semantics/clustering-order.md`.
//!
//! A key is its columns' components one after the other. A component is a marker byte and a payload that tells its own
//! end, so that no key is the beginning of another:
//!
//! ```text
//! 0x03                      an empty value (no bytes), before all others
//! 0x04 payload              a value
//!   integers, timestamp     big-endian, sign bit flipped
//!   boolean                 0 or 1
//!   float, double           big-endian bits: sign flipped if positive, all flipped if negative; every NaN one NaN
//!   text, ascii, blob       0x00 as 01 01, 0x01 as 01 02, others as they are; then 0x00
//!   uuid                    version in the upper four bits, then time (version 1) or the bits in order; 8 bytes as they are
//!   timeuuid                version and time, highest part first; 8 bytes with their sign bits flipped
//!   decimal                 sign, exponent, digits to the base of 100 each plus one, 0x00
//!   tuple, user-defined     component by component, null as 0x02, those at the end left out, then 0x01
//!   collections             component by component (a map's keys and values in turn), then 0x01
//! ```
//!
//! For `DESC` every byte of the component is inverted, marker included. Outer markers are thus among 0x03, 0x04, 0xFB and
//! 0xFC, all within 0x01..=0xFE, which leaves 0xFF for "after every key with this prefix". 0x02 is kept for null.

mod decode;
mod encode;
#[cfg(test)]
mod tests;

pub(crate) use decode::{decode_component, decode_component_into, decode_path};
pub(crate) use encode::encode_component;

/// Null: a field of a tuple or user-defined type. No clustering column holds it itself.
pub(crate) const MARKER_NULL: u8 = 0x02;
/// An empty value.
pub(crate) const MARKER_EMPTY: u8 = 0x03;
/// A value, whose payload follows.
pub(crate) const MARKER_VALUE: u8 = 0x04;
/// The first byte of a decimal: below 0, 0, above 0.
pub(crate) const DECIMAL_SIGNS: [u8; 3] = [0x40, 0x80, 0xc0];
/// After the last element of a collection, tuple or user-defined type; below every marker, so that the shorter sorts first.
pub(crate) const END_OF_ELEMENTS: u8 = 0x01;
/// After text, ascii and blob.
pub(crate) const END_OF_BYTES: u8 = 0x00;
/// Before a byte that stands for 0x00 or 0x01 in text, ascii and blob: that byte plus one.
pub(crate) const ESCAPE: u8 = 0x01;
/// The first byte of a varint that is not negative, less its length in bytes.
pub(crate) const VARINT_ZERO: u8 = 0x80;
/// In the place of the length of a varint as long as this or longer: the length follows.
pub(crate) const VARINT_LONG: u8 = 0x7f;
/// The one NaN of each width: Java's canonical one.
pub(crate) const NAN_32: u32 = 0x7fc0_0000;
/// The one NaN of each width: Java's canonical one.
pub(crate) const NAN_64: u64 = 0x7ff8_0000_0000_0000;
