//! `Rows` (specification, section 4.2.5.2), written cell by cell into the answer.

use super::columns::flags;
use super::write::{OpenBytes, OpenFrame, open_bytes, patch, put_bytes, put_i32};
use super::{HEADER_LEN, Metadata};

/// Writes a page of rows; [`Reply::rows`](super::Reply::rows) begins one.
///
/// Cells come row by row, each row with all columns in their order. Dropped before [`finish`](Self::finish), the writer takes back the
/// whole answer, so that an error can stand in its place.
///
/// ```
/// use model::CqlType;
/// use scrollback_cql::frame::{Column, Metadata, Reply, open_bytes, put_bytes};
///
/// let tags = CqlType::Text.list();
/// let column = |name, ty| Column { keyspace: "chat", table: "rooms", name, ty };
/// let metadata = Metadata::new([column("id", &CqlType::Int), column("tags", &tags)]);
///
/// let mut out = Vec::new();
/// let mut rows = Reply::to(3).rows(&mut out, &metadata, false);
/// rows.value(Some(&7i32.to_be_bytes()));
/// // A list of one element, written in place.
/// let cell = rows.open_value();
/// let buffer = rows.buffer();
/// buffer.extend_from_slice(&1i32.to_be_bytes());
/// put_bytes(buffer, Some(b"quiet"));
/// cell.close(buffer);
/// assert_eq!(rows.rows(), 1);
/// rows.finish(None);
/// # assert_eq!(out[..9], [0x84, 0, 0, 3, 8, 0, 0, 0, 0x46]);
/// ```
#[derive(Debug)]
pub struct RowsWriter<'o> {
    out: &'o mut Vec<u8>,
    frame: usize,
    /// Where the flags of the metadata lie.
    metadata: usize,
    /// Where the number of rows lies.
    count: usize,
    columns: u64,
    cells: u64,
    finished: bool,
}

impl<'o> RowsWriter<'o> {
    pub(super) fn new(out: &'o mut Vec<u8>, frame: OpenFrame, of: &Metadata, skip: bool) -> RowsWriter<'o> {
        put_i32(out, super::reply::kind::ROWS);
        let metadata = out.len();
        of.put(out, skip);
        let count = out.len();
        put_i32(out, 0);
        RowsWriter {
            out,
            frame: frame.start,
            metadata,
            count,
            columns: of.len() as u64,
            cells: 0,
            finished: false,
        }
    }

    /// Appends a cell, or null.
    #[inline]
    pub fn value(&mut self, bytes: Option<&[u8]>) {
        self.cells += 1;
        put_bytes(self.out, bytes);
    }

    /// Begins a cell that is appended to [`buffer`](Self::buffer), and then closed.
    #[inline]
    pub fn open_value(&mut self) -> OpenBytes {
        self.cells += 1;
        open_bytes(self.out)
    }

    /// Where the bytes of an open cell go: only append.
    #[inline]
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        self.out
    }

    /// How many rows are whole.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.cells.checked_div(self.columns).unwrap_or(0)
    }

    /// How long the answer is so far, bytes, header included: pages are bounded by it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.out.len() - self.frame
    }

    /// Whether there is no cell yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cells == 0
    }

    /// Ends the page. `more` is where the next one begins, if there is one; it moves the rows up by its length.
    ///
    /// # Panics
    /// If the last row is not whole, or the answer is longer than 256 MiB.
    pub fn finish(mut self, more: Option<&[u8]>) {
        let rows = self.rows();
        assert_eq!(rows * self.columns, self.cells, "the last row is not whole");
        patch(
            self.out,
            self.count,
            i32::try_from(rows).expect("rows are counted in 31 bits"),
        );
        if let Some(state) = more {
            // The flags and the number of columns are 8 bytes; the state follows.
            let at = self.metadata + 8;
            let len = 4 + state.len();
            let end = self.out.len();
            self.out.resize(end + len, 0);
            self.out.copy_within(at..end, at + len);
            let state_len = i32::try_from(state.len()).expect("a paging state is short");
            patch(self.out, at, state_len);
            self.out[at + 4..at + len].copy_from_slice(state);
            // The lowest byte of the flags.
            self.out[self.metadata + 3] |= flags::MORE as u8;
        }
        OpenFrame { start: self.frame }.close(self.out);
        self.finished = true;
    }
}

impl Drop for RowsWriter<'_> {
    fn drop(&mut self) {
        if !self.finished {
            debug_assert!(self.out.len() >= self.frame + HEADER_LEN, "the buffer only grows");
            self.out.truncate(self.frame);
        }
    }
}
