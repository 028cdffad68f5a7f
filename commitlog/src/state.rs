//! The log's state and every step that changes it, synchronous: what an append does, what a group is, when it is durable.
//!
//! The way of a record: open group, (sealed, waiting for its write,) in flight, durable, handed over. Groups pass through all of
//! these strictly in log order, although two of them may be in flight and may land in any order.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use runtime::Break;
use runtime::disk::{Buf, File};

use crate::LogPosition;
use crate::buffer::{GroupBuffer, Pool};
use crate::error::{AppendError, Error};
use crate::format::{self, BLOCK, FIRST_RECORD, RECORD_HEADER_LEN, SegmentName};
use crate::group::Group;
use crate::options::{Options, SyncMode};
use crate::segments::Segment;
use crate::stats::LogStats;

/// Groups being written at one time.
pub(crate) const IN_FLIGHT_MAX: usize = 2;

/// How far the log's life has come.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Phase {
    Open,
    /// Takes no records; what is there is being written.
    Closing,
    /// Everything is written, or the log is poisoned; the tasks end.
    Closed,
}

/// The way of a vouching record that is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Vouching {
    No,
    Wanted,
    /// Until everything below is durable.
    Until(LogPosition),
}

/// A group closed to appends.
pub(crate) struct Sealed {
    file: Rc<File>,
    buf: Rc<Buf>,
    start: LogPosition,
    end: LogPosition,
    records_len: usize,
    record_count: u32,
    /// What its last record vouches for.
    vouches: LogPosition,
}

/// What a lane writes.
pub(crate) struct Write {
    pub number: u64,
    pub file: Rc<File>,
    pub offset: u64,
    pub buf: Rc<Buf>,
}

/// What a sync in periodic mode makes durable: all that was written before it began.
#[derive(Default)]
pub(crate) struct Period {
    /// The files written to, oldest first.
    pub files: Vec<Rc<File>>,
    end: LogPosition,
    vouches: LogPosition,
    records_len: usize,
    record_count: u32,
}

struct InFlight {
    number: u64,
    group: Sealed,
    landed: bool,
}

pub(crate) struct State {
    pub options: Options,
    pub pool: Rc<Pool>,
    pub phase: Phase,
    pub poison: Option<Arc<Error>>,
    pub stats: LogStats,

    current: SegmentName,
    /// Its file; `None` after the log was closed.
    current_file: Option<Rc<File>>,
    /// Where the open group begins in the current segment.
    next_offset: usize,
    open: Option<GroupBuffer>,
    open_records: u32,
    sealed: VecDeque<Sealed>,
    in_flight: VecDeque<InFlight>,
    next_number: u64,
    ready: VecDeque<Group>,

    pub appended: LogPosition,
    pub durable: LogPosition,
    /// Written without a gap; ahead of `durable` in periodic mode only.
    pub written: LogPosition,
    /// Bytes of records not yet taken by `next_group`, or not yet synced in periodic mode.
    unsynced_bytes: usize,
    /// What is written and not synced; in periodic mode only.
    period: Period,
    /// Someone waits for the sync of a periodic log.
    pub sync_wanted: bool,

    /// The end of the last durable group with records.
    records_end: LogPosition,
    /// What the last durable record vouches for.
    vouched: LogPosition,
    pub vouching: Vouching,

    pub spare: Option<Segment>,
    /// The id of the next segment to prepare.
    pub next_segment: u64,
    /// Why there is none, if the device is full.
    pub spare_blocked: Option<Arc<Error>>,
    /// Segments not released, oldest first; the last one is the current.
    held: VecDeque<SegmentName>,
    /// Released segments, to be recycled.
    pub free: Vec<SegmentName>,
    /// Files of full segments, to be closed when their last write is done.
    pub retired: Vec<Rc<File>>,

    /// Tasks in `room`, and whether one of them was just let through.
    pub waiting: usize,
    pub let_through: bool,
}

impl State {
    pub fn new(options: Options, first: Segment, free: Vec<SegmentName>) -> State {
        let start = LogPosition {
            segment: first.name.id,
            offset: FIRST_RECORD,
        };
        State {
            pool: Pool::new(options.group_bytes_max),
            options,
            phase: Phase::Open,
            poison: None,
            stats: LogStats::default(),
            held: VecDeque::from([first.name]),
            current: first.name,
            current_file: Some(first.file),
            next_offset: FIRST_RECORD as usize,
            open: None,
            open_records: 0,
            sealed: VecDeque::new(),
            in_flight: VecDeque::with_capacity(IN_FLIGHT_MAX),
            next_number: 0,
            ready: VecDeque::new(),
            appended: start,
            durable: start,
            written: start,
            unsynced_bytes: 0,
            period: Period::default(),
            sync_wanted: false,
            records_end: start,
            vouched: start,
            vouching: Vouching::No,
            spare: None,
            next_segment: start.segment + 1,
            spare_blocked: None,
            free,
            retired: Vec::new(),
            waiting: 0,
            let_through: false,
        }
    }

    pub fn periodic(&self) -> bool {
        matches!(self.options.sync, SyncMode::Periodic { .. })
    }

    // ---- appending -------------------------------------------------------------------------------------------------

    pub fn append(&mut self, record: &[u8]) -> Result<LogPosition, AppendError> {
        if let Some(first) = &self.poison {
            return Err(AppendError::Poisoned(Arc::clone(first)));
        }
        if self.phase != Phase::Open {
            return Err(AppendError::Closed);
        }
        let bytes_max = self.options.record_bytes_max();
        if record.len() > bytes_max {
            return Err(AppendError::TooLarge {
                bytes: record.len(),
                bytes_max,
            });
        }
        // Whoever waits goes first; the one that was let through appends before anyone else runs.
        let let_through = std::mem::take(&mut self.let_through);
        if (self.waiting > 0 && !let_through) || !self.has_room(record.len()) {
            return Err(AppendError::Full);
        }
        let bytes = RECORD_HEADER_LEN + record.len();
        if !self.fits(self.open_end_offset(), bytes) {
            self.switch_segment();
        } else if self.open_used() > 0 && self.open_used() + bytes > self.options.group_bytes_max {
            // The next group begins at a border; where that is too far for this record, the open group takes it all the same.
            if self.fits(format::group_end(self.open_end_offset()), bytes) {
                self.seal(None);
            }
        }
        assert!(
            self.fits(self.open_end_offset(), bytes),
            "a record of {bytes} bytes fits where it is put"
        );
        let at = self.open_end();
        let open = self.open.get_or_insert_with(|| GroupBuffer::new(&self.pool, bytes));
        open.record(&self.pool, self.current.salt, at, self.durable, record);
        self.open_records += 1;
        self.unsynced_bytes += bytes;
        self.appended = self.open_end();
        self.stats.records += 1;
        self.stats.bytes += record.len() as u64;
        self.stats.padding_bytes += RECORD_HEADER_LEN as u64;
        Ok(self.appended)
    }

    /// Whether a record of `len` bytes could be appended now, if nobody waited.
    pub fn has_room(&self, len: usize) -> bool {
        let bytes = RECORD_HEADER_LEN + len;
        // A record larger than the budget is taken alone.
        let budget = self.unsynced_bytes == 0 || self.unsynced_bytes + bytes <= self.options.unsynced_bytes_max;
        budget && (self.fits(self.open_end_offset(), bytes) || self.spare.is_some())
    }

    /// Whether a record fits into the current segment at `offset`. The last block is left to a fill: so there is always place for
    /// the last word when the log is closed.
    fn fits(&self, offset: usize, bytes: usize) -> bool {
        format::group_end(offset + bytes) <= self.options.segment_bytes as usize - BLOCK
    }

    fn open_end_offset(&self) -> usize {
        self.next_offset + self.open_used()
    }

    fn open_used(&self) -> usize {
        self.open.as_ref().map_or(0, GroupBuffer::used)
    }

    fn open_end(&self) -> LogPosition {
        LogPosition {
            segment: self.current.id,
            offset: self.open_end_offset() as u32,
        }
    }

    /// Closes the open group with a fill up to `end` (default: the next block border with place for it).
    fn seal(&mut self, end: Option<usize>) {
        let open = self.open.take().unwrap_or_else(|| GroupBuffer::new(&self.pool, BLOCK));
        let used = open.used();
        let segment = self.current.id;
        let at = LogPosition {
            segment,
            offset: (self.next_offset + used) as u32,
        };
        let end = end.unwrap_or_else(|| format::group_end(self.next_offset + used));
        let fill = end - self.next_offset - used;
        self.stats.padding_bytes += fill as u64;
        self.sealed.push_back(Sealed {
            file: Rc::clone(self.current_file.as_ref().expect("a closed log writes nothing")),
            buf: open.seal(&self.pool, self.current.salt, at, self.durable, fill),
            start: LogPosition {
                segment,
                offset: self.next_offset as u32,
            },
            end: LogPosition {
                segment,
                offset: end as u32,
            },
            records_len: used,
            record_count: self.open_records,
            vouches: self.durable,
        });
        self.open_records = 0;
        self.next_offset = end;
    }

    /// Fills the rest of the current segment and goes on in the spare, which is there.
    fn switch_segment(&mut self) {
        let segment_bytes = self.options.segment_bytes as usize;
        if self.next_offset < segment_bytes {
            self.seal(Some(segment_bytes));
        }
        let spare = self.spare.take().expect("room was checked: a spare is ready");
        assert_eq!(
            spare.name.id,
            self.current.id + 1,
            "segments follow one another without a gap"
        );
        self.current = spare.name;
        self.held.push_back(spare.name);
        self.retired.extend(self.current_file.replace(spare.file));
        self.next_offset = FIRST_RECORD as usize;
    }

    // ---- writing ---------------------------------------------------------------------------------------------------

    /// The next group to write, if there is one and fewer than two are in flight: the oldest sealed one, else the open one,
    /// which is sealed here, as late as possible, so that it takes everyone who came while the others were being written.
    pub fn next_write(&mut self) -> Option<Write> {
        if self.poison.is_some() || self.in_flight.len() >= IN_FLIGHT_MAX {
            return None;
        }
        if self.sealed.is_empty() {
            if self.open_used() > 0 {
                if self.open_is_small() {
                    return None;
                }
                self.seal(None);
            } else if self.vouching == Vouching::Wanted && self.in_flight.is_empty() {
                self.seal_vouching();
            }
        }
        let group = self.sealed.pop_front()?;
        let number = self.next_number;
        self.next_number += 1;
        let write = Write {
            number,
            file: Rc::clone(&group.file),
            offset: u64::from(group.start.offset),
            buf: Rc::clone(&group.buf),
        };
        if group.record_count > 0 {
            self.stats.groups += 1;
        } else {
            self.stats.fill_groups += 1;
        }
        self.stats.written_bytes += group.buf.len() as u64;
        if runtime::broken(Break::AckBeforeSync) && !self.periodic() {
            self.hand_over(Sealed {
                file: Rc::clone(&group.file),
                buf: Rc::clone(&group.buf),
                ..group
            });
        }
        self.in_flight.push_back(InFlight {
            number,
            group,
            landed: false,
        });
        Some(write)
    }

    /// Whether the open group should rather grow than be written at once: a write is under way, and it has less than the youngest
    /// one. Groups of like size share the device's time best; the end of any write ends the wait.
    pub fn open_is_small(&self) -> bool {
        let youngest = self.in_flight.back();
        youngest.is_some_and(|flying| !flying.landed && self.open_used() < flying.group.records_len)
    }

    /// Seals a group that only vouches, if there is something to vouch for and place for it.
    fn seal_vouching(&mut self) {
        self.vouching = Vouching::No;
        if self.durable < self.written {
            // Periodic mode: records came after it was asked for. It will be asked for again after their sync.
            return;
        }
        let segment_bytes = self.options.segment_bytes as usize;
        let closing = self.phase == Phase::Closing;
        if self.next_offset == segment_bytes && closing && self.spare.is_some() {
            self.switch_segment();
        }
        let left = segment_bytes - self.next_offset;
        // The last block closes a segment: before its time only if the next one is ready, or if the log goes on no more.
        if left > BLOCK || (left == BLOCK && (closing || self.spare.is_some())) {
            self.seal(Some(self.next_offset + BLOCK));
            self.vouching = Vouching::Until(self.open_end());
        }
    }

    /// Notes that a write is done; the groups that are now written without a gap go on.
    pub fn landed(&mut self, number: u64, took_us: u64) {
        self.stats.odsync_us.add(took_us);
        let flying = self.in_flight.iter_mut().find(|flying| flying.number == number);
        flying.expect("a write lands once").landed = true;
        if self.poison.is_some() {
            return;
        }
        while self.in_flight.front().is_some_and(|oldest| oldest.landed) {
            let InFlight { group, .. } = self.in_flight.pop_front().expect("there is a front");
            self.written = group.end;
            if self.periodic() {
                self.written_in_period(group);
            } else if !runtime::broken(Break::AckBeforeSync) {
                self.hand_over(group);
            }
        }
    }

    /// Group mode: the group is durable.
    fn hand_over(&mut self, group: Sealed) {
        self.advance(group.end, group.vouches, group.record_count);
        if group.record_count > 0 {
            self.ready.push_back(Group {
                buf: Some(group.buf),
                pool: Rc::clone(&self.pool),
                start: group.start,
                records_len: group.records_len,
                record_count: group.record_count,
                end: group.end,
            });
        } else {
            self.pool.put(group.buf);
        }
    }

    fn advance(&mut self, durable: LogPosition, vouches: LogPosition, record_count: u32) {
        assert!(
            durable > self.durable,
            "durable fell from {} to {durable}",
            self.durable
        );
        self.durable = durable;
        self.vouched = vouches;
        if record_count > 0 {
            self.records_end = durable;
        }
        if matches!(self.vouching, Vouching::Until(end) if end <= durable) {
            self.vouching = Vouching::No;
        }
    }

    /// The next durable group.
    pub fn take_ready(&mut self) -> Option<Group> {
        let group = self.ready.pop_front()?;
        if group.buf.is_some() {
            self.unsynced_bytes -= group.records_len;
        }
        Some(group)
    }

    /// Whether nothing is open, sealed or in flight.
    pub fn is_idle(&self) -> bool {
        self.open_used() == 0 && self.sealed.is_empty() && self.in_flight.is_empty()
    }

    /// Whether the last durable records are vouched for by nobody.
    pub fn needs_vouching(&self) -> bool {
        self.vouched < self.records_end
    }

    // ---- periodic mode ---------------------------------------------------------------------------------------------

    fn written_in_period(&mut self, group: Sealed) {
        let period = &mut self.period;
        period.end = group.end;
        period.vouches = group.vouches;
        period.records_len += group.records_len;
        period.record_count += group.record_count;
        if period.files.last().is_none_or(|file| !Rc::ptr_eq(file, &group.file)) {
            period.files.push(group.file);
        }
        self.pool.put(group.buf);
    }

    /// Whether a sync should begin before the period is over: someone waits for it, or half of what may be unsynced is.
    pub fn sync_is_due(&self) -> bool {
        !self.period.files.is_empty()
            && (self.sync_wanted || self.period.records_len >= self.options.unsynced_bytes_max / 2)
    }

    /// Whether anything is written and not synced.
    pub fn has_unsynced(&self) -> bool {
        !self.period.files.is_empty()
    }

    /// What to sync now. Only writes that are done count: the device orders nothing.
    pub fn begin_sync(&mut self) -> Period {
        self.sync_wanted = false;
        std::mem::take(&mut self.period)
    }

    /// All files of the period are synced.
    pub fn synced(&mut self, period: &Period) {
        self.unsynced_bytes -= period.records_len;
        self.advance(period.end, period.vouches, period.record_count);
        if period.record_count == 0 {
            return;
        }
        match self.ready.back_mut() {
            // Not taken yet: nobody needs to hear of both.
            Some(group) => {
                group.end = period.end;
                group.record_count += period.record_count;
            }
            None => self.ready.push_back(Group {
                buf: None,
                pool: Rc::clone(&self.pool),
                start: period.end,
                records_len: 0,
                record_count: period.record_count,
                end: period.end,
            }),
        }
    }

    // ---- segments --------------------------------------------------------------------------------------------------

    /// Lets go of the segments below, as far as all of them is durable.
    pub fn release(&mut self, below: LogPosition) {
        assert!(
            below.segment <= self.current.id,
            "release below {below}, but the log ends in segment {}",
            self.current.id
        );
        let full = self.durable.offset == self.options.segment_bytes;
        let below = below.segment.min(self.durable.segment + u64::from(full));
        while self.held.len() > 1 && self.held[0].id < below {
            let released = self.held.pop_front().expect("there is a front");
            self.free.push(released);
        }
    }

    /// Segments in use, the current one included.
    pub fn held_count(&self) -> usize {
        self.held.len()
    }

    /// The lowest segment in use.
    pub fn oldest_held(&self) -> u64 {
        self.held[0].id
    }

    /// A spare is ready.
    pub fn put_spare(&mut self, spare: Segment) {
        assert_eq!(
            spare.name.id, self.next_segment,
            "segments are prepared one after the other"
        );
        self.next_segment += 1;
        self.spare = Some(spare);
        self.spare_blocked = None;
    }

    /// How many files there are.
    pub fn file_count(&self) -> usize {
        self.held.len() + usize::from(self.spare.is_some()) + self.free.len()
    }

    /// Closed, and the tasks have ended: gives up the files, and what a failure left unwritten.
    pub fn take_files(&mut self) -> Vec<Rc<File>> {
        self.open = None;
        self.sealed.clear();
        self.in_flight.clear();
        self.period = Period::default();
        let mut files = std::mem::take(&mut self.retired);
        files.extend(self.spare.take().map(|spare| spare.file));
        files.extend(self.current_file.take());
        files
    }
}
