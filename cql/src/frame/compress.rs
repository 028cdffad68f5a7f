//! Compressed bodies (specification, section 5): LZ4, the length before compression in front, 32 bits big-endian.

use std::fmt;

use lz4_flex::block::{CompressTable, compress_into_with_table, decompress_into, get_maximum_output_size};

use super::{Error, Flags, HEADER_LEN, Result};

/// The name of the algorithm in `SUPPORTED` and `STARTUP`.
pub const LZ4: &str = "lz4";
/// A byte of a block stands for no more than so many of what it holds.
const EXPANSION_MAX: u64 = 255;
/// Bodies below are sent as they are, bytes: they get hardly shorter, and a frame fits a packet either way.
const COMPRESSED_FROM: usize = 128;

/// Puts what a compressed body holds into `out`, in place of what was there.
///
/// The length that the body claims is held against `limit` (a [frame's](super::Frames::limit)), and against what so many bytes can hold
/// at all, before anything is allocated.
///
/// # Errors
/// [`Error::TooBig`], and [`Error::Compressed`] if it is not a block of just that length; the connection goes on.
pub fn decompress(body: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<()> {
    out.clear();
    let (claimed, block) = body
        .split_first_chunk::<4>()
        .ok_or(Error::Short("the length of a compressed body"))?;
    let claimed = u32::from_be_bytes(*claimed);
    if u64::from(claimed) > limit as u64 {
        return Err(Error::TooBig {
            length: u64::from(claimed),
            limit: limit as u64,
        });
    }
    if claimed == 0 {
        return match block {
            [] | [0] => Ok(()),
            _ => Err(Error::Compressed("more than was claimed")),
        };
    }
    if u64::from(claimed) > EXPANSION_MAX * block.len() as u64 {
        return Err(Error::Compressed("less than was claimed"));
    }
    out.resize(claimed as usize, 0);
    match decompress_into(block, out) {
        Ok(len) if len == out.len() => Ok(()),
        Ok(_) => {
            out.clear();
            Err(Error::Compressed("less than was claimed"))
        }
        Err(_) => {
            out.clear();
            Err(Error::Compressed("not a block of LZ4"))
        }
    }
}

/// Compresses frames; keeps its memory from one to the next, which is some 16 KiB and the longest frame so far: have one for many
/// connections.
#[derive(Default)]
pub struct Compressor {
    block: Vec<u8>,
    table: CompressTable,
}

impl Compressor {
    /// One that has met no frame yet.
    #[must_use]
    pub fn new() -> Compressor {
        Compressor::default()
    }

    /// Compresses the body of the frame that begins at `frame` and is the last in `out`, if that makes it shorter. Gives whether it did.
    ///
    /// # Panics
    /// If no frame begins there.
    pub fn compress(&mut self, out: &mut Vec<u8>, frame: usize) -> bool {
        let body = frame + HEADER_LEN;
        assert!(body <= out.len(), "a frame has a header");
        let len = out.len() - body;
        if len < COMPRESSED_FROM {
            return false;
        }
        self.block.resize(get_maximum_output_size(len), 0);
        let Ok(compressed) = compress_into_with_table(&out[body..], &mut self.block, &mut self.table) else {
            return false;
        };
        if 4 + compressed >= len {
            return false;
        }
        out.truncate(body);
        out.extend_from_slice(&(len as u32).to_be_bytes());
        out.extend_from_slice(&self.block[..compressed]);
        out[frame + 1] |= Flags::COMPRESSED;
        super::write::patch(out, frame + 5, 4 + compressed as i32);
        true
    }
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressor").finish_non_exhaustive()
    }
}
