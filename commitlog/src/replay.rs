//! Reading a log back after a start: every valid record in order, and whether what follows is a torn tail or damage.
//!
//! 1. List the folder; from the highest id downwards read headers until everything that is needed is known (`Plan`).
//! 2. Walk the segments through a window of a megabyte, the next one being read meanwhile, and deliver their records. Each segment
//!    is synced first: a process that was killed may have left it unsynced, and what is delivered may be flushed at once.
//! 3. At the first place without a valid record search all that follows for headers that vouch for a later position.

use std::fmt;
use std::ops::AsyncFnMut;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use runtime::disk::{self, File, ReadBuf};
use runtime::{Break, Task};

use crate::LogPosition;
use crate::error::Error;
use crate::format::{BLOCK, FIRST_RECORD, RECORD_HEADER_LEN, SegmentHeader, SegmentName, VERSION};
use crate::plan::{Listed, Plan, Refusal};
use crate::segments;
use crate::walk::{SEARCH_OVERLAP, Step, Traces, Walker, begins_here};

/// Bytes read at once.
const WINDOW_BYTES: usize = 1 << 20;
/// Bytes searched between two breaths.
const SEARCH_BYTES: usize = 16 << 10;

/// Records at the end of the log that were never acknowledged, and are dropped.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TornTail {
    /// The segment's file.
    pub path: PathBuf,
    /// Where the first broken record begins.
    pub offset: u64,
    /// Bytes from there on, later segments included, that hold traces of records.
    pub bytes: u64,
}

/// What a replay has found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// Records delivered.
    pub records: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// Segments that belong to the log.
    pub segments: u64,
    /// What was dropped at the end, if something was.
    pub torn: Option<TornTail>,
    /// The end of the last record delivered; segment `from_segment`, offset 0 if there was none.
    pub end: LogPosition,
    /// The lowest id that was never used: the floor for the manifest, then the first segment of the new log.
    pub next_segment: u64,
    /// The node and shard that wrote the log; `None` if there was no segment.
    pub writer: Option<([u8; 16], u16)>,
}

/// Why a replay ended early.
#[derive(Debug)]
pub enum ReplayError<E> {
    /// The log can't be read, or is damaged.
    Log(Error),
    /// The consumer of the records refused.
    Consumer(E),
}

impl<E> From<Error> for ReplayError<E> {
    fn from(error: Error) -> Self {
        ReplayError::Log(error)
    }
}

impl<E> From<runtime::Error> for ReplayError<E> {
    fn from(error: runtime::Error) -> Self {
        ReplayError::Log(error.into())
    }
}

impl<E: fmt::Display> fmt::Display for ReplayError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReplayError::Log(error) => error.fmt(f),
            ReplayError::Consumer(error) => error.fmt(f),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for ReplayError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ReplayError::Log(error) => error.source(),
            ReplayError::Consumer(error) => error.source(),
        }
    }
}

/// Delivers every record of the log in `dir`, from segment `from_segment` on, in order, with the position of its end.
///
/// `from_segment` is the manifest's floor: older segments are ignored, and a log that has given up newer ones is refused. A folder that does not exist is an empty log. Nothing is
/// changed on disk, but what is delivered is durable. Memory: two windows of a megabyte, or the longest record.
///
/// # Errors
/// [`Error::Corrupt`], [`Error::Missing`], [`Error::Stale`], [`Error::TooNew`]: some of what had been durable may not be readable; records before that
/// place have been delivered already and must not be taken for the whole. [`Error::Io`].
/// # Panics
/// Off-shard.
pub async fn replay<E>(
    dir: &Path,
    from_segment: u64,
    mut each: impl AsyncFnMut(LogPosition, &[u8]) -> Result<(), E>,
) -> Result<Report, ReplayError<E>> {
    let mut report = Report {
        end: LogPosition {
            segment: from_segment,
            offset: 0,
        },
        next_segment: from_segment,
        ..Report::default()
    };
    if !disk::exists(dir).await? {
        return Ok(report);
    }
    let listing = segments::list(dir).await?;
    if let Some((name, _)) = listing.segments.last() {
        let after = name.id.checked_add(1).ok_or_else(|| Error::Corrupt {
            path: segments::path(dir, *name),
            offset: 0,
            what: "no segment can follow one of this id: it is not of this log, move it away",
        })?;
        report.next_segment = from_segment.max(after);
    }
    let headers = plan(dir, &listing.segments, from_segment).await?;
    report.segments = headers.len() as u64;
    report.writer = headers.first().map(|header| (header.host_id, header.shard));

    let mut headers = headers.iter();
    let mut stop = None;
    for header in headers.by_ref() {
        let mut window = Window::open(dir, header).await?;
        if !runtime::broken(Break::SkipReplaySync) {
            window.file.sync().await?;
        }
        let stopped = walk(header, &mut window, &mut report, &mut each).await?;
        if let Some((walker, what)) = stopped {
            stop = Some((header.name, walker, what, window));
            break;
        }
        window.close().await?;
    }
    let Some((name, walker, what, mut window)) = stop else {
        return Ok(report);
    };

    let path = segments::path(dir, name);
    let start = walker.offset();
    let offset = u64::from(start);
    // Why the record is not valid says more than that it had been durable.
    let damaged = || Error::Corrupt {
        path: path.clone(),
        offset,
        what,
    };
    let mut torn_bytes = 0;
    let mut traces = Traces::default();
    search(&mut window, start, &mut traces).await?;
    if traces.vouched > walker.position() {
        return Err(damaged().into());
    }
    if traces.headers > 0 || begins_here(window.at(start, RECORD_HEADER_LEN).await?, start, name) {
        let block_end = (offset + 1).next_multiple_of(BLOCK as u64);
        torn_bytes += traces.end_offset.max(block_end).min(window.len()) - offset;
    }
    window.close().await?;
    for header in headers {
        let mut traces = Traces::default();
        let mut window = Window::open(dir, header).await?;
        search(&mut window, FIRST_RECORD, &mut traces).await?;
        if traces.vouched > walker.position() {
            return Err(damaged().into());
        }
        torn_bytes += traces
            .end_offset
            .min(window.len())
            .saturating_sub(u64::from(FIRST_RECORD));
        window.close().await?;
    }
    if torn_bytes > 0 {
        report.torn = Some(TornTail {
            path,
            offset,
            bytes: torn_bytes,
        });
    }
    Ok(report)
}

/// A segment in `dir` that another node or shard wrote, needed or not; `None` if there is none. A segment without a sound header
/// is nobody's.
///
/// # Errors
/// [`Error::Io`].
/// # Panics
/// Off-shard.
pub async fn foreign(dir: &Path, host_id: [u8; 16], shard: u16) -> Result<Option<PathBuf>, Error> {
    if !disk::exists(dir).await? {
        return Ok(None);
    }
    for (name, file_len) in segments::list(dir).await?.segments {
        let path = segments::path(dir, name);
        let header = SegmentHeader::decode(&header_block(&path, file_len).await?);
        if header.is_ok_and(|header| (header.host_id, header.shard) != (host_id, shard)) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

async fn header_block(path: &Path, file_len: u64) -> Result<ReadBuf, Error> {
    let file = File::open_read(path).await?;
    let block = file
        .read(0, usize::try_from(file_len).unwrap_or(BLOCK).min(BLOCK))
        .await;
    file.close().await?;
    Ok(block?)
}

/// Reads headers from the highest id downwards until it is known which segments are needed.
async fn plan(dir: &Path, listed: &[(SegmentName, u64)], from_segment: u64) -> Result<Vec<SegmentHeader>, Error> {
    let refused = |refusal| match refusal {
        Refusal::Corrupt { name, offset, what } => Error::Corrupt {
            path: segments::path(dir, name),
            offset,
            what,
        },
        Refusal::Missing { segment } => Error::Missing {
            dir: dir.to_path_buf(),
            segment,
        },
        Refusal::Stale { name, oldest } => Error::Stale {
            path: segments::path(dir, name),
            oldest,
            from_segment,
        },
        Refusal::TooNew { name, found } => Error::TooNew {
            path: segments::path(dir, name),
            found,
            newest_known: VERSION,
        },
    };
    let mut plan = Plan::new(from_segment);
    for &(name, file_len) in listed.iter().rev() {
        let listed = Listed { name, file_len };
        if !plan.wants(&listed) {
            break;
        }
        let block = header_block(&segments::path(dir, name), file_len).await?;
        plan.take(listed, SegmentHeader::decode(&block)).map_err(refused)?;
    }
    plan.finish().map_err(refused)
}

/// Delivers the records of one segment. Stops at the first place without a valid one: the walker stands there.
async fn walk<E>(
    header: &SegmentHeader,
    window: &mut Window,
    report: &mut Report,
    each: &mut impl AsyncFnMut(LogPosition, &[u8]) -> Result<(), E>,
) -> Result<Option<(Walker, &'static str)>, ReplayError<E>> {
    let checksums = !runtime::broken(Break::IgnoreReplayChecksum);
    let mut walker = Walker::new(header, checksums);
    let mut need = 1;
    loop {
        let offset = walker.offset();
        let bytes = if offset < header.segment_bytes {
            window.at(offset, need).await?
        } else {
            &[]
        };
        need = 1;
        match walker.step(bytes) {
            Step::Need(bytes) => need = bytes,
            Step::Record(record) => {
                report.records += 1;
                report.bytes += record.payload.len() as u64;
                report.end = record.end();
                each(record.end(), record.payload)
                    .await
                    .map_err(ReplayError::Consumer)?;
                runtime::breathe().await;
            }
            Step::Fill(_) => runtime::breathe().await,
            Step::End => return Ok(None),
            Step::Invalid(what) => return Ok(Some((walker, what))),
            Step::Unknown(what) => return Err(window.damaged(offset, what).into()),
        }
    }
}

/// Looks for valid headers from `offset` to the end of the segment.
async fn search(window: &mut Window, offset: u32, traces: &mut Traces) -> Result<(), Error> {
    let (name, segment_bytes) = (window.name, window.segment_bytes);
    let mut offset = offset;
    loop {
        let bytes = window.at(offset, SEARCH_BYTES).await?;
        let bytes = &bytes[..bytes.len().min(SEARCH_BYTES)];
        traces.search(bytes, offset, name);
        let end = offset + bytes.len() as u32;
        if end == segment_bytes {
            return Ok(());
        }
        offset = end - SEARCH_OVERLAP as u32;
        runtime::breathe().await;
    }
}

/// A segment's file, seen through a part of it that was read; the part that follows is being read meanwhile.
struct Window {
    file: Rc<File>,
    name: SegmentName,
    segment_bytes: u32,
    /// Where the part begins, and its bytes.
    part: (u32, Option<ReadBuf>),
    /// The part after it.
    ahead: Option<Task<Result<ReadBuf, runtime::Error>>>,
    /// Bytes from this offset on, put together from several parts.
    joined: (u32, Vec<u8>),
}

impl Window {
    async fn open(dir: &Path, header: &SegmentHeader) -> Result<Window, Error> {
        let file = File::open_read(&segments::path(dir, header.name)).await?;
        Ok(Window {
            file: Rc::new(file),
            name: header.name,
            segment_bytes: header.segment_bytes,
            part: (0, None),
            ahead: None,
            joined: (0, Vec::new()),
        })
    }

    async fn close(mut self) -> Result<(), Error> {
        if let Some(ahead) = self.ahead.take() {
            ahead.await?;
        }
        let file = Rc::try_unwrap(self.file).expect("nothing is being read any more");
        Ok(file.close().await?)
    }

    fn len(&self) -> u64 {
        u64::from(self.segment_bytes)
    }

    fn damaged(&self, offset: u32, what: &'static str) -> Error {
        Error::Corrupt {
            path: self.file.path().to_path_buf(),
            offset: u64::from(offset),
            what,
        }
    }

    fn part(&self) -> (u32, &[u8]) {
        (self.part.0, self.part.1.as_deref().unwrap_or_default())
    }

    /// Begins to read the part at `from`, if the segment goes so far.
    fn read_ahead(&mut self, from: u32) {
        self.ahead = None;
        if from < self.segment_bytes {
            let file = Rc::clone(&self.file);
            let len = WINDOW_BYTES.min((self.segment_bytes - from) as usize);
            let read = async move { file.read(u64::from(from), len).await };
            self.ahead = Some(runtime::spawn(runtime::task_class(), "log replay read", read));
        }
    }

    /// Takes the part at `from`, which was read ahead unless the reader jumped.
    async fn turn_to(&mut self, from: u32, was_read_ahead: bool) -> Result<(), Error> {
        self.part.1 = None;
        if !was_read_ahead || self.ahead.is_none() {
            self.read_ahead(from);
        }
        let ahead = self.ahead.take().expect("the part lies in the segment");
        let bytes = ahead.await?;
        let end = from + bytes.len() as u32;
        self.part = (from, Some(bytes));
        self.read_ahead(end);
        Ok(())
    }

    /// The bytes from `offset` on, at least `need` of them unless the segment ends before. Copies only records that lie in
    /// two parts. Never more than the segment is read, whose length was compared with the file's.
    async fn at(&mut self, offset: u32, need: usize) -> Result<&[u8], Error> {
        let need = need.min((self.segment_bytes - offset) as usize);
        let (from, part) = self.part();
        let (joined_from, joined) = (self.joined.0, self.joined.1.len() as u32);
        let in_part = offset >= from && offset < from + part.len() as u32;
        let in_joined = offset >= joined_from && offset < joined_from + joined;
        if !in_part && !in_joined {
            let aligned = offset - offset % BLOCK as u32;
            let follows = aligned == from + part.len() as u32;
            self.joined.1.clear();
            self.turn_to(aligned, follows).await?;
        }
        let (from, part) = self.part();
        if offset >= from && (offset - from) as usize + need <= part.len() {
            let skip = (offset - from) as usize;
            // Borrowed anew: the check above must not hold a borrow over what follows.
            return Ok(&self.part().1[skip..]);
        }
        if !in_joined {
            let tail = part[(offset - from) as usize..].to_vec();
            self.joined = (offset, tail);
        }
        loop {
            let end = self.joined.0 + self.joined.1.len() as u32;
            let missing = (offset + need as u32).saturating_sub(end) as usize;
            if missing == 0 {
                return Ok(&self.joined.1[(offset - self.joined.0) as usize..]);
            }
            let (from, part) = self.part();
            if end >= from + part.len() as u32 {
                self.turn_to(end, true).await?;
            }
            let (from, part) = (self.part.0, self.part.1.as_deref().unwrap_or_default());
            let more = &part[(end - from) as usize..];
            self.joined.1.extend_from_slice(&more[..more.len().min(missing)]);
        }
    }
}
