//! Files made up for tests.

use model::Token;
use sstable::Statistics;

use crate::{Epoch, EpochShare, File, FileId, Now, Options, RunId, next_job};

/// A file with its statistics: a MiB over all tokens that lives for ever.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) id: u64,
    pub(crate) run: Option<u64>,
    pub(crate) bytes: u64,
    pub(crate) created_s: u32,
    pub(crate) first: Token,
    pub(crate) last: Token,
    pub(crate) late: bool,
    pub(crate) epochs: Vec<EpochShare>,
    pub(crate) deleted: bool,
    pub(crate) flushed: bool,
    pub(crate) busy: bool,
    pub(crate) statistics: Statistics,
}

pub(crate) fn file(id: u64) -> Made {
    Made {
        id,
        run: None,
        bytes: 1 << 20,
        created_s: 0,
        first: Token::MIN,
        last: Token::MAX,
        late: false,
        epochs: Vec::new(),
        deleted: false,
        flushed: false,
        busy: false,
        statistics: Statistics {
            min_timestamp: 0,
            max_timestamp: 0,
            max_local_deletion_time: u32::MAX,
            clustering: Some((vec![0], vec![9])),
            ..Statistics::default()
        },
    }
}

impl Made {
    pub(crate) fn id(mut self, id: u64) -> Made {
        self.id = id;
        self
    }

    pub(crate) fn run(mut self, run: u64) -> Made {
        self.run = Some(run);
        self
    }

    pub(crate) fn bytes(mut self, bytes: u64) -> Made {
        self.bytes = bytes;
        self
    }

    pub(crate) fn created(mut self, created_s: u32) -> Made {
        self.created_s = created_s;
        self
    }

    pub(crate) fn tokens(mut self, first: i64, last: i64) -> Made {
        (self.first, self.last) = (Token(first), Token(last));
        self
    }

    pub(crate) fn late(mut self) -> Made {
        self.late = true;
        self
    }

    pub(crate) fn flushed(mut self) -> Made {
        self.flushed = true;
        self
    }

    pub(crate) fn busy(mut self) -> Made {
        self.busy = true;
        self
    }

    /// Adds a share, and no bytes.
    pub(crate) fn epoch(mut self, epoch: i64, bytes: u64, shadowed_bytes: u64) -> Made {
        let epoch = Epoch(epoch);
        self.epochs.push(EpochShare {
            epoch,
            bytes,
            shadowed_bytes,
        });
        self
    }

    pub(crate) fn timestamps(mut self, min: i64, max: i64) -> Made {
        (self.statistics.min_timestamp, self.statistics.max_timestamp) = (min, max);
        self
    }

    pub(crate) fn positions(mut self, min: u8, max: u8) -> Made {
        self.statistics.clustering = Some((vec![min], vec![max]));
        self
    }

    /// The last of it dies at this second.
    pub(crate) fn ends(mut self, seconds: u32) -> Made {
        self.statistics.max_local_deletion_time = seconds;
        self
    }

    pub(crate) fn file(&self) -> File<'_> {
        File {
            id: FileId(self.id),
            run: self.run.map(RunId),
            bytes: self.bytes,
            created_s: self.created_s,
            first: self.first,
            last: self.last,
            late: self.late,
            epochs: &self.epochs,
            deleted: self.deleted,
            flushed: self.flushed,
            busy: self.busy,
            statistics: &self.statistics,
        }
    }
}

pub(crate) fn now(seconds: u32, gc_grace_s: u32) -> Now {
    Now {
        seconds,
        gc_grace_s,
        min_timestamp_outside: i64::MAX,
        check_expired: true,
        first_open_epoch: Epoch(0),
        bytes_max: u64::MAX,
    }
}

/// The inputs of the next job; none if there is no job. The order of the files must not matter.
pub(crate) fn inputs(files: &[Made], options: &Options, now: &Now) -> Vec<u64> {
    let mut files: Vec<File<'_>> = files.iter().map(Made::file).collect();
    let job = next_job(&files, options, now);
    files.reverse();
    assert_eq!(next_job(&files, options, now), job, "the order of the files matters");
    job.map_or(Vec::new(), |job| job.inputs.iter().map(|id| id.0).collect())
}
