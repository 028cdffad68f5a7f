//! Memory for direct I/O from the heap.

use crate::disk::BLOCK;

/// Bytes that begin at a multiple of [`BLOCK`].
pub(crate) struct AlignedBuf {
    /// One block longer than asked for, so that an aligned start lies within. Never grows, so it stays where it is.
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl AlignedBuf {
    /// `len` zero bytes.
    pub(crate) fn zeroed(len: usize) -> Self {
        let bytes = vec![0; len + BLOCK];
        let start = bytes.as_ptr().align_offset(BLOCK);
        assert!(start < BLOCK, "memory has an aligned address in each block");
        Self { bytes, start, len }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.len]
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.len]
    }

    /// The memory, and where in it the bytes begin.
    pub(crate) fn into_parts(self) -> (Vec<u8>, usize) {
        (self.bytes, self.start)
    }
}
