//! Keys and row bodies, packed into chunks that are counted whole and freed whole.
//!
//! A record is `[key length u32][body length u32][key][body]`, native byte order, at any alignment: it never leaves memory. Records are only
//! added; one that is superseded keeps its bytes until the whole arena goes. So a reader that holds the arena can keep slices of records
//! while the writer adds more behind them.
//!
//! Chunks grow from 4 KiB to just under 128 KiB, so that a small table costs little and a large one rarely asks the allocator. A record that
//! is large beside a chunk gets an allocation of its own, and the open chunk stays open.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::{Cell, RefCell};
use std::ptr::{self, NonNull};
use std::rc::Rc;

use model::{KeyDigest, KeySeed};

use crate::meter::Meter;

const CHUNK_BYTES_MIN: usize = 4 << 10;
/// A little under a power of two: with the allocator's own header it stays below the size from which glibc maps and unmaps each block.
pub(crate) const CHUNK_BYTES_MAX: usize = (128 << 10) - 64;
/// A record up to this size goes into a chunk; at most this much is left unused at a chunk's end.
const PACKED_BYTES_MAX: usize = CHUNK_BYTES_MAX / 8;
const HEADER_BYTES: usize = 8;

/// Where a record lies. The null record stands for an empty key and an empty body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record(*const u8);

impl Default for Record {
    fn default() -> Self {
        Self::NULL
    }
}

impl Record {
    pub(crate) const NULL: Self = Self(ptr::null());

    pub(crate) fn is_null(self) -> bool {
        self.0.is_null()
    }
}

/// One allocation of the arena.
#[derive(Debug)]
struct Chunk {
    start: NonNull<u8>,
    layout: Layout,
}

impl Drop for Chunk {
    fn drop(&mut self) {
        // SAFETY: `start` came from `alloc` with this layout in `Chunk::new`, and is freed only here.
        unsafe { dealloc(self.start.as_ptr(), self.layout) }
    }
}

impl Chunk {
    fn new(bytes: usize) -> Self {
        let layout = Layout::from_size_align(bytes, 1).expect("a record is smaller than the address space");
        assert!(bytes > 0, "an arena chunk holds at least a record's header");
        // SAFETY: the layout's size is not zero.
        let start = unsafe { alloc(layout) };
        let Some(start) = NonNull::new(start) else {
            handle_alloc_error(layout)
        };
        Self { start, layout }
    }
}

/// The records of one memtable.
#[derive(Debug)]
pub(crate) struct Arena {
    meter: Rc<Meter>,
    seed: KeySeed,
    chunks: RefCell<Vec<Chunk>>,
    /// The unused end of the open chunk.
    free: Cell<*mut u8>,
    free_bytes: Cell<usize>,
    chunk_bytes_next: Cell<usize>,
}

impl Arena {
    pub(crate) fn new(meter: Rc<Meter>, seed: KeySeed) -> Self {
        Self {
            meter,
            seed,
            chunks: RefCell::new(Vec::new()),
            free: Cell::new(ptr::null_mut()),
            free_bytes: Cell::new(0),
            chunk_bytes_next: Cell::new(CHUNK_BYTES_MIN),
        }
    }

    /// Adds a record of `key` and `body`.
    ///
    /// # Panics
    /// If either is 4 GiB or longer: mutations are bounded far below.
    pub(crate) fn add(&self, key: &[u8], body: &[u8]) -> Record {
        let key_len = u32::try_from(key.len()).expect("a key is shorter than 4 GiB");
        let body_len = u32::try_from(body.len()).expect("a row is shorter than 4 GiB");
        let bytes = HEADER_BYTES + key.len() + body.len();
        let at = self.place(bytes);
        // SAFETY: `place` gives `bytes` writable bytes that no record occupies, so no reader's slice overlaps them; the four writes
        // lie within them, one behind the other.
        unsafe {
            at.cast::<u32>().write_unaligned(key_len);
            at.add(4).cast::<u32>().write_unaligned(body_len);
            ptr::copy_nonoverlapping(key.as_ptr(), at.add(HEADER_BYTES), key.len());
            ptr::copy_nonoverlapping(body.as_ptr(), at.add(HEADER_BYTES + key.len()), body.len());
        }
        Record(at)
    }

    /// The key of `record`.
    ///
    /// # Safety
    /// `record` is null, or was added to this arena.
    pub(crate) unsafe fn key(&self, record: Record) -> &[u8] {
        if record.is_null() {
            return &[];
        }
        // SAFETY: `add` wrote this record whole before handing it out; it is never written again, and its chunk lives as long as the arena.
        unsafe {
            let len = record.0.cast::<u32>().read_unaligned() as usize;
            std::slice::from_raw_parts(record.0.add(HEADER_BYTES), len)
        }
    }

    /// The digest of the key of `record`.
    ///
    /// # Safety
    /// As of [`key`](Self::key).
    #[inline]
    pub(crate) unsafe fn digest(&self, record: Record) -> KeyDigest {
        // SAFETY: the caller's.
        self.seed.digest(unsafe { self.key(record) })
    }

    /// The body of `record`.
    ///
    /// # Safety
    /// `record` is null, or was added to this arena.
    pub(crate) unsafe fn body(&self, record: Record) -> &[u8] {
        if record.is_null() {
            return &[];
        }
        // SAFETY: as in `key`.
        unsafe {
            let key_len = record.0.cast::<u32>().read_unaligned() as usize;
            let body_len = record.0.add(4).cast::<u32>().read_unaligned() as usize;
            std::slice::from_raw_parts(record.0.add(HEADER_BYTES + key_len), body_len)
        }
    }

    /// Frees one chunk and returns its size; `None` when no chunk is left.
    ///
    /// # Safety
    /// No record of this arena is read after the first call.
    pub(crate) unsafe fn free_chunk(&self) -> Option<usize> {
        self.free_bytes.set(0);
        let mut chunks = self.chunks.borrow_mut();
        let Some(chunk) = chunks.pop() else {
            let capacity = chunks.capacity();
            *chunks = Vec::new();
            self.meter.resized::<Chunk>(capacity, 0);
            return None;
        };
        self.meter.sub(chunk.layout.size());
        Some(chunk.layout.size())
    }

    fn place(&self, bytes: usize) -> *mut u8 {
        if bytes <= self.free_bytes.get() {
            let at = self.free.get();
            // SAFETY: the open chunk has `free_bytes` >= `bytes` bytes from `at` on.
            self.free.set(unsafe { at.add(bytes) });
            self.free_bytes.set(self.free_bytes.get() - bytes);
            return at;
        }
        self.place_in_new_chunk(bytes)
    }

    #[cold]
    fn place_in_new_chunk(&self, bytes: usize) -> *mut u8 {
        if bytes > PACKED_BYTES_MAX {
            return self.add_chunk(bytes);
        }
        // At least four records of this size, so that a table of middling rows does not fill chunk after chunk with one each.
        let mut chunk_bytes = self.chunk_bytes_next.get();
        while chunk_bytes < 4 * bytes {
            chunk_bytes *= 2;
        }
        let chunk_bytes = chunk_bytes.min(CHUNK_BYTES_MAX);
        self.chunk_bytes_next.set((chunk_bytes * 2).min(CHUNK_BYTES_MAX));
        let at = self.add_chunk(chunk_bytes);
        // SAFETY: the new chunk has `chunk_bytes` >= 4 * `bytes` bytes, or the largest size, which is eight times `PACKED_BYTES_MAX`.
        self.free.set(unsafe { at.add(bytes) });
        self.free_bytes.set(chunk_bytes - bytes);
        at
    }

    fn add_chunk(&self, bytes: usize) -> *mut u8 {
        let chunk = Chunk::new(bytes);
        let at = chunk.start.as_ptr();
        let mut chunks = self.chunks.borrow_mut();
        let capacity = chunks.capacity();
        chunks.push(chunk);
        self.meter.resized::<Chunk>(capacity, chunks.capacity());
        self.meter.add(bytes);
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arena() -> Arena {
        Arena::new(Rc::new(Meter::default()), KeySeed::default())
    }

    #[test]
    fn keeps_records_apart_while_more_are_added_behind_them() {
        let arena = arena();
        let mut records = Vec::new();
        let mut held: Vec<(&[u8], &[u8])> = Vec::new();
        for i in 0..if cfg!(miri) { 200 } else { 3000_usize } {
            let key = vec![i as u8; i % 50];
            let body = vec![(i >> 8) as u8; if i % 100 == 99 { 70_000 } else { i % 300 }];
            let record = arena.add(&key, &body);
            // SAFETY: added to this arena.
            held.push(unsafe { (arena.key(record), arena.body(record)) });
            records.push((key, body));
        }
        for (i, ((key, body), (held_key, held_body))) in records.iter().zip(&held).enumerate() {
            assert_eq!((&key[..], &body[..]), (*held_key, *held_body), "record {i}");
        }
    }

    #[test]
    fn null_record_is_empty() {
        let arena = arena();
        // SAFETY: the null record.
        unsafe {
            assert_eq!(arena.key(Record::NULL), b"");
            assert_eq!(arena.body(Record::NULL), b"");
        }
    }

    #[test]
    fn counts_chunks_whole_and_frees_them_one_by_one() {
        let meter = Rc::new(Meter::default());
        let arena = Arena::new(Rc::clone(&meter), KeySeed::default());
        let mut payload = 0;
        for i in 0..if cfg!(miri) { 500 } else { 20_000_usize } {
            payload += HEADER_BYTES + 16 + i % 400;
            arena.add(&[7; 16], &vec![1; i % 400]);
        }
        assert!(meter.bytes() >= payload);
        assert!(
            meter.bytes() < payload + payload / 100 + 2 * CHUNK_BYTES_MAX,
            "{} for {payload}",
            meter.bytes()
        );
        // SAFETY: no record is read any more.
        while unsafe { arena.free_chunk() }.is_some() {}
        assert_eq!(meter.bytes(), 0);
    }

    #[test]
    fn middling_records_share_chunks() {
        let arena = arena();
        for _ in 0..1000 {
            arena.add(&[1; 9], &[2; 3000]);
        }
        assert!(
            arena.chunks.borrow().len() < 60,
            "{} chunks",
            arena.chunks.borrow().len()
        );
    }
}
