//! Which segments of a folder make up the log, decided from their names, lengths and headers.

use crate::format::{HeaderError, SegmentHeader, SegmentName, VERSION};

/// A segment's file as a listing shows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listed {
    pub name: SegmentName,
    pub file_len: u64,
}

/// Why a folder is not a log that can be replayed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refusal {
    Corrupt {
        name: SegmentName,
        offset: u64,
        what: &'static str,
    },
    TooNew {
        name: SegmentName,
        found: u16,
    },
    Missing {
        segment: u64,
    },
    /// The segment's header tells that those below `oldest` were given up; the caller still asks for them.
    Stale {
        name: SegmentName,
        oldest: u64,
    },
}

/// Decides, from the highest id downwards, what is needed.
pub(crate) struct Plan {
    needed: Vec<SegmentHeader>,
    /// The lowest segment that is needed.
    from: u64,
}

impl Plan {
    pub fn new(from_segment: u64) -> Plan {
        Plan {
            needed: Vec::new(),
            from: from_segment,
        }
    }

    /// Whether a segment must be looked at; asked with falling ids.
    pub fn wants(&self, listed: &Listed) -> bool {
        listed.name.id >= self.from
    }

    /// Takes the next lower segment that is wanted, with its header block as read.
    pub fn take(&mut self, listed: Listed, header: Result<SegmentHeader, HeaderError>) -> Result<(), Refusal> {
        let Listed { name, file_len } = listed;
        let corrupt = |offset, what| Refusal::Corrupt { name, offset, what };
        let header = match header {
            Ok(header) => header,
            Err(HeaderError::Corrupt(what)) => return Err(corrupt(0, what)),
            Err(HeaderError::TooNew(found)) => {
                debug_assert!(found > VERSION);
                return Err(Refusal::TooNew { name, found });
            }
        };
        if header.name != name {
            return Err(corrupt(0, "its header names another segment than the file's name does"));
        }
        if file_len != u64::from(header.segment_bytes) {
            let shorter = file_len < u64::from(header.segment_bytes);
            let what = if shorter {
                "the file is cut short"
            } else {
                "the file is longer than its header says"
            };
            return Err(corrupt(file_len.min(u64::from(header.segment_bytes)), what));
        }
        if let Some(above) = self.needed.last() {
            if above.name.id == name.id {
                return Err(corrupt(0, "a second file has the same segment id"));
            }
            if above.host_id != header.host_id || above.shard != header.shard {
                return Err(corrupt(0, "the segment belongs to the log of another node or shard"));
            }
            if above.name.id != name.id + 1 {
                return Err(Refusal::Missing {
                    segment: above.name.id - 1,
                });
            }
        }
        if header.oldest > self.from {
            let oldest = header.oldest;
            return Err(Refusal::Stale { name, oldest });
        }
        self.needed.push(header);
        Ok(())
    }

    /// The segments of the log, oldest first.
    pub fn finish(mut self) -> Result<Vec<SegmentHeader>, Refusal> {
        if self.needed.last().is_some_and(|lowest| lowest.name.id > self.from) {
            return Err(Refusal::Missing { segment: self.from });
        }
        self.needed.reverse();
        Ok(self.needed)
    }
}
