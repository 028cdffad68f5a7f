//! The memory of groups: one buffer per open group, which the device reads from and the memtable is filled from, used again
//! when the last of both is done.

use std::cell::RefCell;
use std::rc::Rc;

use runtime::disk::Buf;

use crate::LogPosition;
use crate::format::{self, BLOCK, RECORD_HEADER_LEN};

/// What a buffer begins with.
const FIRST_BYTES: usize = 64 << 10;
/// Buffers kept for later: two being written, one open, one being applied.
const KEPT: usize = 4;

/// Buffers waiting to be used again.
pub(crate) struct Pool {
    free: RefCell<Vec<Rc<Buf>>>,
    /// Larger ones (for a large record) are not kept.
    bytes_max: usize,
}

impl Pool {
    pub fn new(group_bytes_max: usize) -> Rc<Pool> {
        let bytes_max = group_bytes_max.next_multiple_of(BLOCK).next_power_of_two();
        Rc::new(Pool {
            free: RefCell::new(Vec::with_capacity(KEPT)),
            bytes_max,
        })
    }

    fn take(&self, bytes: usize) -> Rc<Buf> {
        let pooled = self.free.borrow_mut().pop();
        match pooled {
            Some(mut buf) if buf.capacity() >= bytes => {
                let capacity = buf.capacity();
                Rc::get_mut(&mut buf)
                    .expect("only buffers that nobody else holds are kept")
                    .set_len(capacity);
                buf
            }
            // A smaller one goes: the log has grown out of it.
            _ => Rc::new(Buf::zeroed(bytes.next_power_of_two().max(FIRST_BYTES))),
        }
    }

    /// Takes a buffer back, if nobody else holds it.
    pub fn put(&self, mut buf: Rc<Buf>) {
        let mut free = self.free.borrow_mut();
        if free.len() < KEPT && buf.capacity() <= self.bytes_max && Rc::get_mut(&mut buf).is_some() {
            free.push(buf);
        }
    }
}

/// The records of the open group, as they will be written.
pub(crate) struct GroupBuffer {
    buf: Rc<Buf>,
    used: usize,
}

impl GroupBuffer {
    pub fn new(pool: &Pool, bytes: usize) -> GroupBuffer {
        GroupBuffer {
            buf: pool.take(bytes),
            used: 0,
        }
    }

    pub fn used(&self) -> usize {
        self.used
    }

    /// The `bytes` behind what is used, from where on they are overwritten. Grows by doubling: amortised, one copy.
    fn tail(&mut self, pool: &Pool, bytes: usize) -> &mut [u8] {
        let end = self.used + bytes;
        if end > self.buf.len() {
            let mut larger = pool.take(end.max(2 * self.buf.len()));
            let bytes = Rc::get_mut(&mut larger).expect("a buffer from the pool is ours alone");
            bytes[..self.used].copy_from_slice(&self.buf[..self.used]);
            pool.put(std::mem::replace(&mut self.buf, larger));
        }
        let buf = Rc::get_mut(&mut self.buf).expect("the open group's buffer is ours alone");
        &mut buf[self.used..end]
    }

    /// Adds a record that begins at `at`.
    pub fn record(&mut self, pool: &Pool, salt: u32, at: LogPosition, vouched: LogPosition, payload: &[u8]) {
        let bytes = RECORD_HEADER_LEN + payload.len();
        format::encode_record(self.tail(pool, bytes), salt, at, vouched, payload);
        self.used += bytes;
    }

    /// Adds a fill of `bytes` that begins at `at`, and gives the group as it is written.
    pub fn seal(mut self, pool: &Pool, salt: u32, at: LogPosition, vouched: LogPosition, bytes: usize) -> Rc<Buf> {
        if bytes > 0 {
            format::encode_fill(self.tail(pool, bytes), salt, at, vouched);
            self.used += bytes;
        }
        Rc::get_mut(&mut self.buf)
            .expect("the open group's buffer is ours alone")
            .set_len(self.used);
        self.buf
    }
}
