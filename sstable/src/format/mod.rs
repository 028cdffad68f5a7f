//! The bytes of an sstable, version 1, as codecs over byte slices. `docs/format/sstable.md` is the definition.
//!
//! ```text
//! head | data … index | data … index | top index | filter | statistics | footer
//! ```
//!
//! Decoders take bytes that may be anything: they answer with a phrase that says what is wrong ([`What`]), never panic, and
//! allocate no more than a length they have bounded by the bytes in hand.

pub(crate) mod data;
pub(crate) mod filter;
pub(crate) mod footer;
pub(crate) mod frame;
pub(crate) mod index;
pub(crate) mod statistics;
pub(crate) mod tally;
#[cfg(test)]
mod tests;

use model::Deletion;
use model::varint;

/// The version that the writer gives, and the newest that the reader knows.
pub(crate) const VERSION: u16 = 1;

/// The first bytes of every file.
pub(crate) const HEAD: [u8; 8] = *b"SBSSTBL\n";

/// The last bytes of every file.
pub(crate) const MAGIC: [u8; 8] = *b"SBSSTFT\n";

/// What is wrong with bytes, as a short phrase.
pub(crate) type What = &'static str;

/// The end of a partition, as a position.
pub(crate) const PARTITION_END: &[u8] = &[0xFF];

/// Reads `N` bytes off the front.
pub(crate) fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

/// The four bytes at `at`, little-endian.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk::<4>().map(|b| u32::from_le_bytes(*b))
}

/// The eight bytes at `at`, little-endian.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk::<8>().map(|b| u64::from_le_bytes(*b))
}

/// Appends a deletion: timestamp (zigzag), local deletion time (varint).
pub(crate) fn put_deletion(out: &mut Vec<u8>, deletion: Deletion) {
    varint::put_i64(out, deletion.timestamp);
    varint::put_u64(out, u64::from(deletion.local_deletion_time));
}

/// Reads what [`put_deletion`] wrote. A live deletion is not written, so reading one is damage.
pub(crate) fn get_deletion(bytes: &mut &[u8]) -> Option<Deletion> {
    let timestamp = varint::get_i64(bytes)?;
    let local_deletion_time = u32::try_from(varint::get_u64(bytes)?).ok()?;
    let deletion = Deletion {
        timestamp,
        local_deletion_time,
    };
    (!deletion.is_live()).then_some(deletion)
}

/// A length that fits what follows it.
pub(crate) fn get_usize(bytes: &mut &[u8]) -> Option<usize> {
    usize::try_from(varint::get_u64(bytes)?).ok()
}
