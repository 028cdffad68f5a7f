//! A file's bytes for a scan, read in large pieces: the present one, and the next one while it is used.
//!
//! What a read brings lies in the shard's I/O arena, of which the log needs its part, so it is copied out at once; the memory of both
//! pieces is used again. A frame that no piece has whole is put together. A scan that jumps begins a new piece there.

use std::ops::Range;

use runtime::Task;
use runtime::disk::{BLOCK, File};

use crate::error::Result;
use crate::format::footer::Place;

/// Bytes of the device read at once, unless less is asked for; never less than the second.
const PIECE_BYTES: u64 = 512 * 1024;
const PIECE_BYTES_MIN: u64 = 64 * 1024;

/// Bytes copied between two looks at the clock.
const COPY_BYTES: usize = 64 * 1024;

/// Memory of sections, and of frames, is kept for the next ones up to this.
const KEPT_BYTES_MAX: usize = 1 << 20;

/// Keeps memory for what comes next, unless it is too large.
pub(crate) fn keep(memory: &mut Vec<u8>) {
    if memory.capacity() > KEPT_BYTES_MAX {
        *memory = Vec::new();
    }
}

/// See the module's page.
pub(crate) struct Pieces {
    file: File,
    /// Nothing is read from here on.
    pub(crate) end: u64,
    piece_bytes: u64,
    at: u64,
    piece: Vec<u8>,
    ahead: Option<(Range<u64>, Task<PieceRead>)>,
    spare: Vec<u8>,
    /// A frame of which no piece has all, as far as it is put together.
    joined: Vec<u8>,
    joined_at: u64,
    /// Read so far, and being read.
    pub(crate) bytes: u64,
}

type PieceRead = std::result::Result<Vec<u8>, runtime::Error>;

impl Pieces {
    pub(crate) fn new(file: File) -> Self {
        Pieces {
            file,
            end: 0,
            piece_bytes: PIECE_BYTES,
            at: 0,
            piece: Vec::new(),
            ahead: None,
            spare: Vec::new(),
            joined: Vec::new(),
            joined_at: 0,
            bytes: 0,
        }
    }

    /// Pieces of so many bytes from now on, within the bounds.
    pub(crate) fn set_piece_bytes(&mut self, bytes: u64) {
        self.piece_bytes = bytes.clamp(PIECE_BYTES_MIN, PIECE_BYTES);
    }

    /// Gives all memory back.
    pub(crate) fn clear(&mut self) {
        self.ahead = None;
        (self.piece, self.spare, self.joined) = (Vec::new(), Vec::new(), Vec::new());
    }

    /// The bytes of a frame, which ends before `end`.
    pub(crate) async fn frame(&mut self, place: Place) -> Result<&[u8]> {
        let len = place.len as usize;
        if self.part(place.offset).len() < len {
            if self.joined_at != place.offset {
                keep(&mut self.joined);
                self.joined.clear();
                self.joined_at = place.offset;
            }
            loop {
                if self.joined.len() == len {
                    return Ok(&self.joined);
                }
                let at = place.offset + self.joined.len() as u64;
                let part = self.part(at);
                if part.is_empty() {
                    // A frame that begins with a piece is taken from it.
                    self.next(at).await?;
                    if self.joined.is_empty() && self.part(place.offset).len() >= len {
                        break;
                    }
                    continue;
                }
                let part = part.len().min(len - self.joined.len()).min(COPY_BYTES);
                let from = (at - self.at) as usize;
                self.joined.extend_from_slice(&self.piece[from..from + part]);
                runtime::breathe().await;
            }
        }
        Ok(&self.part(place.offset)[..len])
    }

    /// What the piece has from `at` on.
    fn part(&self, at: u64) -> &[u8] {
        let from = at.checked_sub(self.at).and_then(|from| usize::try_from(from).ok());
        from.and_then(|from| self.piece.get(from..)).unwrap_or(&[])
    }

    /// Goes to a piece that has the byte at `at`, and begins to read the one after it.
    async fn next(&mut self, at: u64) -> Result<()> {
        assert!(at < self.end, "a piece at {at} is beyond what is to be read");
        if self.ahead.as_ref().is_none_or(|(range, _)| !range.contains(&at)) {
            self.read(at);
        }
        let Some((range, read)) = &mut self.ahead else {
            unreachable!("a piece is being read")
        };
        let (range, read) = (range.clone(), read.await);
        self.ahead = None;
        self.spare = std::mem::replace(&mut self.piece, read?);
        self.at = range.start;
        if range.end < self.end {
            self.read(range.end);
        }
        Ok(())
    }

    /// Begins to read the piece at `at`.
    fn read(&mut self, at: u64) {
        // Whole blocks of the device, so that none is read twice.
        let end = (at + self.piece_bytes) / BLOCK as u64 * BLOCK as u64;
        let range = at..end.min(self.end);
        let len = (range.end - range.start) as usize;
        self.bytes += len as u64;
        let (file, mut piece) = (self.file.clone(), std::mem::take(&mut self.spare));
        let read = async move {
            let read = file.read(at, len).await?;
            piece.clear();
            piece.reserve_exact(len);
            for part in read.chunks(COPY_BYTES) {
                piece.extend_from_slice(part);
                runtime::breathe().await;
            }
            Ok(piece)
        };
        let task = runtime::spawn(runtime::task_class(), "sstable scan", read);
        self.ahead = Some((range, task));
    }
}
