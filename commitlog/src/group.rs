//! What the log hands over: groups of durable records.

use std::rc::Rc;

use runtime::disk::Buf;

use crate::LogPosition;
use crate::buffer::Pool;
use crate::format::{Kind, RECORD_HEADER_LEN, RecordHeader};

/// Records that became durable together, in log order. Dropping it gives its buffer back to the log.
pub struct Group {
    /// `None` in periodic mode: there records are applied when they are appended.
    pub(crate) buf: Option<Rc<Buf>>,
    pub(crate) pool: Rc<Pool>,
    pub(crate) start: LogPosition,
    /// Bytes of records at the front of the buffer; a fill may follow.
    pub(crate) records_len: usize,
    pub(crate) record_count: u32,
    pub(crate) end: LogPosition,
}

impl Group {
    /// The records with the positions of their ends. Empty in periodic mode.
    pub fn records(&self) -> Records<'_> {
        let bytes = self.buf.as_ref().map_or(&[][..], |buf| &buf[..self.records_len]);
        Records { bytes, at: self.start }
    }

    /// How many records it holds.
    pub fn record_count(&self) -> usize {
        self.record_count as usize
    }

    /// Everything below is durable.
    pub fn end(&self) -> LogPosition {
        self.end
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(buf) = self.buf.take() {
            self.pool.put(buf);
        }
    }
}

/// The records of a [`Group`].
#[derive(Clone)]
pub struct Records<'a> {
    bytes: &'a [u8],
    at: LogPosition,
}

impl<'a> Iterator for Records<'a> {
    type Item = (LogPosition, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if self.bytes.is_empty() {
            return None;
        }
        let (head, rest) = self.bytes.split_at(RECORD_HEADER_LEN);
        let (kind, payload_len) = RecordHeader::trusted(head);
        assert!(kind == Kind::Data, "a group's records come before its fill");
        let (payload, rest) = rest.split_at(payload_len);
        self.bytes = rest;
        self.at.offset += (RECORD_HEADER_LEN + payload_len) as u32;
        Some((self.at, payload))
    }
}
